"""`cpro-support`: one command a use. Further nouns are added here as modules.

Exit codes, of every command: 0 all is well, 1 something is left for a person, 2 wrong usage, settings or rights,
3 nothing is wrong that could be seen, and not everything could be seen.
"""

import typer

from cpro_transfer.entrypoints.support_cli import (
    audit,
    authorisation_words,
    authorisations,
    dead_letters,
    event_replays,
    reconciliations,
    replay_words,
    replays,
    subjects,
    transfers,
)
from cpro_transfer.entrypoints.support_cli.transfer_words import WORDS
from cpro_transfer.entrypoints.support_cli.words import SPOKEN

app = typer.Typer(no_args_is_help=True, add_completion=False, help=SPOKEN.help)

replay = typer.Typer(no_args_is_help=True, help=SPOKEN.help_replay)
replay.command(name="authorisation", help=authorisation_words.SPOKEN.help_replay)(replays.authorisation)
replay.command(name="events", help=replay_words.SPOKEN.help_events)(event_replays.events)


@app.callback()
def main() -> None:
    """Without this, a tool with one command would have no name for it."""


app.command(name="reconcile", help=SPOKEN.help_reconcile)(reconciliations.reconcile)
app.command(name="authorisations", help=authorisation_words.SPOKEN.help_authorisations)(authorisations.authorisations)
app.command(name="candidates", help=authorisation_words.SPOKEN.help_candidates)(authorisations.candidates)
app.add_typer(replay, name="replay")
app.add_typer(transfers.app, name="transfers")
app.command(name="audit", help=WORDS.help_audit)(audit.audit)
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(subjects.app, name="subject")
