"""The command ``rdu``."""

from __future__ import annotations

import os
import sys
from subprocess import SubprocessError

import typer

from . import cli_design, cli_models, cli_tools

__all__ = ["app", "main"]

INTERRUPTED = 130

app = typer.Typer(help="OpenRDU: generate, simulate and measure a reconfigurable dataflow unit.", no_args_is_help=True,
                  add_completion=False, pretty_exceptions_enable=False)
for command in (cli_design.info, cli_design.verilog, cli_models.coe):
    app.command()(command)
app.command("run")(cli_models.run_command)
app.command("coe-llm")(cli_models.coe_llm)
app.command()(cli_models.chat)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(cli_design.bench)
for command in (cli_design.waves, cli_tools.asm, cli_tools.disasm, cli_tools.regs, cli_tools.top):
    app.command()(command)


def main() -> None:
    """Entry point: every expected error becomes one line and exit code 1 (Ctrl-C: 130).

    RDU_TRACEBACK in the environment shows where an error came from.
    """
    try:
        app()
    except SystemExit as end:                    # typer ends so, also after Ctrl-C
        if end.code == INTERRUPTED:
            print("rdu: interrupted", file=sys.stderr)
        raise
    except KeyboardInterrupt:
        print("rdu: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    # A model of the simulator that stops itself (a failed check) raises an AssertionError.
    except (ValueError, OSError, RuntimeError, MemoryError, LookupError, AssertionError, SubprocessError) as error:
        if os.environ.get("RDU_TRACEBACK"):
            raise
        text = error.args[0] if isinstance(error, KeyError) and error.args else error        # str(KeyError) is in quotes
        if isinstance(error, OSError) and error.filename:
            text = f"{error.filename}: {error.strerror}"
        line = "; ".join(str(text).splitlines()) or type(error).__name__
        print("rdu:", "".join(each if each.isprintable() else repr(each)[1:-1] for each in line), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
