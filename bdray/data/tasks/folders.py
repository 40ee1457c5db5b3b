"""Records of labeled images in folders."""

from collections.abc import Sequence
from dataclasses import dataclass

from bdray.data import places
from bdray.data.places import Place
from bdray.data.records import Records

SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")


def image_names(folder: str) -> list[str]:
    """Sorted names of the image files in a folder, by their suffixes."""
    return [name for name in places.names(folder) if name.lower().endswith(SUFFIXES) and not name.startswith(".")]


@dataclass(frozen=True)
class FolderRecords(Records):
    """Images below a root, with labels and captions."""

    root: str
    names: Sequence[str]
    """Paths below the root."""
    labels: Sequence[int]
    prompts: Sequence[str]
    """Caption of each class."""

    def __len__(self) -> int:
        return len(self.names)

    def where(self, position: int) -> str:
        return self.names[position]

    def caption(self, position: int) -> object:
        return self.prompts[self.labels[position]]

    def label(self, position: int) -> int:
        return self.labels[position]

    def place(self, position: int) -> Place:
        return Place(places.inside(self.root, self.names[position]))
