"""Renders the greeting template for each name on the command line."""

import pathlib
import sys

import jinja2

TEMPLATE = pathlib.Path(__file__).with_name("template.txt")


def main():
    template = jinja2.Template(TEMPLATE.read_text(), keep_trailing_newline=True)
    sys.stdout.write(template.render(names=sys.argv[1:], version=jinja2.__version__))


if __name__ == "__main__":
    main()
