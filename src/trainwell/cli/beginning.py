"""What a verb says that builds a run without training it: all of its beginning but where the run lies."""

from trainwell.train.reporter import Reporter, Silence, StartReport
from trainwell.words import opening


class Beginning(Silence):
    """Shows the data, what was chosen, and preparations, by the words of another reporter."""

    def __init__(self, shown: Reporter) -> None:
        self.shown = shown

    def start(self, report: StartReport) -> None:
        """Show what was found and decided; the folder that holds the reasons is gone afterwards."""
        for line in opening(report):
            if not line.startswith("reasons"):
                self.shown.say(line)

    def say(self, text: str) -> None:
        """Show the sentence."""
        self.shown.say(text)

    def work(self, what: str, done: int, total: int) -> None:
        """Show how far a preparation is."""
        self.shown.work(what, done, total)
