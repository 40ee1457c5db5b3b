"""A sheet of pictures with their captions."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

    from bdray.data.inspection import Shown

COLUMNS, MARGIN, LINES, LINE_HEIGHT, FONT_SIZE = 6, 8, 4, 15, 12
MIN_TILE = 160
"""Pixels; smaller images are enlarged, so that captions have room."""


def draw_grid(shown: "Sequence[Shown]") -> "Image.Image":
    """All of them, row by row."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont
    from PIL.Image import Resampling

    tile = max(MIN_TILE, shown[0][0].shape[-1])
    step_x, step_y = tile + MARGIN, tile + MARGIN + LINES * LINE_HEIGHT
    columns = min(COLUMNS, len(shown))
    sheet = Image.new("RGB", (columns * step_x + MARGIN, -(-len(shown) // columns) * step_y + MARGIN), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    for number, (pixels, caption) in enumerate(shown):
        row, column = divmod(number, columns)
        left, top = MARGIN + column * step_x, MARGIN + row * step_y
        picture = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        sheet.paste(picture.resize((tile, tile), Resampling.NEAREST), (left, top))
        letters = int(tile / pen.textlength("abcdefghij etaoin", font=font) * 17)
        for index, line in enumerate(textwrap.wrap(caption, letters, max_lines=LINES, placeholder=" ...")):
            pen.text((left, top + tile + 2 + index * LINE_HEIGHT), line, "black", font)
    return sheet
