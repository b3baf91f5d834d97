"""Compare training logs with the paper's published values.

A run counts by what its log says of the net, the data and the solver, whatever the file is called.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from sdcaffe import flags
from sdcaffe.flags import Parser

_OWN_RUNS = Path("reference_logs/runs")  # where `reproduce` puts the logs of its runs
EXAMPLE = "sdcaffe compare --html compare.html"


def add_flags(parser: Parser) -> None:
    parser.add_argument(
        "logs",
        nargs="*",
        metavar="LOG|DIR",
        help="logs of sdcaffe or Caffe, or folders of them; without one, those in reference_logs/runs "
        "where there is such a folder, else the published values alone",
    )
    parser.add_argument(
        "--csv",
        metavar="FILE",
        help='write a line for each published value and measurement; "-" is standard output, here and for the others '
        "(default: none)",
    )
    parser.add_argument("--json", metavar="FILE", help="write all of it, with the settings of each run (default: none)")
    parser.add_argument(
        "--html", metavar="FILE", help="write one page with tables, curves and settings (default: none)"
    )
    parser.add_argument(
        "--latex",
        metavar="FILE",
        help="write a table for a manuscript of each set of finished runs that differ by the mechanism alone: mean and "
        "deviation over seeds, the best in bold; it needs the packages booktabs and graphicx (default: none)",
    )
    parser.add_argument("--markdown", metavar="FILE", help="write the same tables as Markdown (default: none)")


def run(args: Namespace) -> None:
    from sdcaffe.paper.compare import compare, html, tables, text

    found = compare(args.logs or ([_OWN_RUNS] if _OWN_RUNS.is_dir() else []))
    forms = (
        (args.csv, text.to_csv),
        (args.json, text.to_json),
        (args.html, html.page),
        (args.latex, tables.to_latex),
        (args.markdown, tables.to_markdown),
    )
    outputs = [path for path, _ in forms]
    flags.check_outputs(outputs, [log for run in (*found.runs, *found.others) for log in run.logs])
    for path, content in [(path, form(found)) for path, form in forms if path]:
        flags.write_output(path, content)
    print("\n".join(text.lines(found)), file=flags.beside(*outputs))
