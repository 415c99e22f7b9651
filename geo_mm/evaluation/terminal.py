"""Tables of an evaluation on the terminal."""

from rich import box
from rich.console import Console
from rich.table import Table

from geo_mm.evaluation.objects import ObjectEvaluation
from geo_mm.evaluation.pixels import PixelEvaluation
from geo_mm.evaluation.tables import object_tables, pixel_tables, settings_lines


def show(result: ObjectEvaluation | PixelEvaluation) -> None:
    """Shows the tables, and how the numbers are meant."""
    # Names of classes and files may hold [brackets] and :colons:.
    plain = {'markup': False, 'emoji': False, 'highlight': False}
    console = Console(**plain)
    tables = pixel_tables if isinstance(result, PixelEvaluation) else object_tables
    for table in tables(result):
        shown = Table(title=table.title, title_justify='left', box=box.SIMPLE_HEAD)
        for index, column in enumerate(table.columns):
            shown.add_column(column, justify='right' if index else 'left', no_wrap=True)
        for number, row in enumerate(table.rows):
            if table.total and number == len(table.rows) - 1:
                shown.add_section()
            shown.add_row(*row)
        # A narrow terminal may wrap lines, but numbers are never cut.
        widest = Console(**plain, width=1000).measure(shown).maximum
        Console(**plain, width=max(console.width, widest)).print(shown)
    for line in settings_lines(result):
        console.print(line)
