"""The pictures of a board, as PNG and SVG."""

from .plots.canvas import unlike
from .plots.grids import corruption_pictures, matrix_pictures
from .plots.lines import eps_pictures, frame_pictures, query_pictures
from .plots.scatter import tradeoff_pictures
from .results import Results
from .rows import Board, Picture


def pictures(results: Results, board: Board) -> list[Picture]:
    """Every picture that the cells have something for; the same cells give the same bytes.

    In this order: clean against worst case, pipelines by attack, accuracy against eps, success against queries, accuracy by
    attacked frame, corruptions by severity. Names are drawn as the text that they are, and cut where they are long.
    """
    made = [*tradeoff_pictures(board), *matrix_pictures(board), *eps_pictures(results), *query_pictures(results)]
    return unlike([*made, *frame_pictures(results), *corruption_pictures(results)])
