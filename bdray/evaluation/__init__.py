"""How models are judged: features of an evaluation set, and metrics over them."""
