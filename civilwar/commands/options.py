"""Options that several commands have, and the words that explain presets and variants."""

import argparse
import textwrap

from civilwar.names.variants import VARIANTS
from civilwar.recipe.config import DEFAULT_CORPUS, PRESETS, make_config

#: What add_parser of `argparse` belongs to.
Commands = "argparse._SubParsersAction[argparse.ArgumentParser]"
#: What a preset is for, in a few words.
FOR = {
    "smoke": "seconds; to try whether everything works",
    "laptop": "minutes on two cores; what `civilwar reproduce` trains",
    "middle": "about an hour on two cores; a rung between the other two",
    "paper": "hours on two cores, minutes on a GPU; the report's own scale",
}
WIDTH = 100


def command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, help: str, epilog: str = ""
) -> argparse.ArgumentParser:
    """Declare a command. ``help`` is a phrase for the list of commands; ``epilog`` stands below its options as it is."""
    description = help[0].upper() + help[1:] + "."
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=textwrap.fill(description, WIDTH),
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def add_preset(parser: argparse.ArgumentParser) -> None:
    """``--preset``."""
    parser.add_argument("--preset", default="laptop", choices=list(PRESETS), help="size of the model (default: laptop)")


def add_run(parser: argparse.ArgumentParser) -> None:
    """What decides a run's numbers: ``--preset``, ``--variant``, ``--seed``, ``--corpus``."""
    add_preset(parser)
    parser.add_argument(
        "--variant",
        default="baseline",
        choices=list(VARIANTS),
        metavar="VARIANT",
        help="baseline or one of its controls (default: baseline)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of initialisation and the text's order (default: 0)")
    add_corpus(parser)


def add_corpus(parser: argparse.ArgumentParser) -> None:
    """``--corpus``."""
    parser.add_argument(
        "--corpus",
        default=DEFAULT_CORPUS,
        help="text: docstrings (default), source, prose, path:FOLDER_OR_FILE or hub:NAME[:CONFIG]",
    )


def add_machine(parser: argparse.ArgumentParser) -> None:
    """``--device`` and ``--accept-another-machine``."""
    parser.add_argument("--device", default="auto", help="auto (default), cuda, mps or cpu")
    parser.add_argument(
        "--accept-another-machine",
        action="store_true",
        help="go on with a run that another device or version of torch began",
    )


def explained() -> str:
    """Presets and variants, a line each, for the help."""
    lines = ["presets:"]
    for preset in PRESETS:
        config = make_config(preset)
        size = f"{config.model.n_parameters / 1e6:.2g} million parameters, {config.n_tokens / 1e6:.2g} million tokens"
        lines.append(f"  {preset:<14} {size}: {FOR[preset]}")
    lines.append("\nvariants, by what each changes in the recipe:")
    for key, variant in VARIANTS.items():
        says = "nothing" if key == "baseline" else variant.says
        lines.append(textwrap.fill(says, WIDTH, initial_indent=f"  {key:<14} ", subsequent_indent=" " * 17))
    return "\n".join(lines)
