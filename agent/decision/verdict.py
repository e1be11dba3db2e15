"""What is decided about one person, and when that may change: a state machine with hysteresis.

nothing -> label   min_looks good looks, and a label's mean has reached `enter`
nothing -> unsure  decide_within_s have passed without that
unsure  -> label   as nothing -> label
label   -> other   its mean has fallen below `leave` and another's has reached `enter`
label   -> unsure  its mean has stayed below `leave` for twice decide_within_s and no other has made it:
                     the looks from before have to fade first
label   -> unsure  the story ends while another label is likelier, though not surely: nobody is to be accused by a label
                     that the looks no longer favour
"""

from agent.clock import NS_PER_S
from agent.decision.votes import Votes
from agent.seams import Decision, Label
from agent.settings import DecisionSettings


class Verdict:
    """The decision about one person. decision: None until there is one."""

    def __init__(self, settings: DecisionSettings, first_seen_ns: int) -> None:
        self._settings = settings
        self._within_ns = round(settings.decide_within_s * NS_PER_S)
        self._open_since_ns: int | None = first_seen_ns  # since when a label is being looked for
        self.decision: Decision | None = None

    def reconsider(self, votes: Votes, now_ns: int) -> bool:
        """Decide anew after looks or after time. Returns True if the label is another one than before."""
        before = self.decision
        standing = None if before is None or before.label == "unsure" else before.label
        label, mean = votes.likeliest()
        firm = votes.good_looks >= self._settings.min_looks and mean >= self._settings.enter
        held = standing is not None and standing != label and votes.mean_of(standing) >= self._settings.leave
        if firm and not held:
            self.decision = Decision(label=label, confidence=mean)
            self._open_since_ns = None
        elif standing is None:
            self._wait_or_give_up(votes, now_ns)
        else:
            self._doubt(votes, standing, now_ns)
        return self.decision is not None and (before is None or self.decision.label != before.label)

    def settle(self, votes: Votes) -> bool:
        """Have the last word at the story's end. Returns True if the label has changed."""
        if self.decision is None or self.decision.label in ("unsure", votes.likeliest()[0]):
            return False
        self.decision = votes.unsure(self._settings.min_looks)
        return True

    def _wait_or_give_up(self, votes: Votes, now_ns: int) -> None:
        since_ns = now_ns if self._open_since_ns is None else self._open_since_ns
        late = now_ns - since_ns >= self._within_ns and votes.looks >= self._settings.min_looks
        if self.decision is not None or late:
            self.decision = votes.unsure(self._settings.min_looks)

    def _doubt(self, votes: Votes, label: Label, now_ns: int) -> None:
        """Keep a label until it has been below `leave` for long; another one that reaches `enter` came before this."""
        mean = votes.mean_of(label)
        self.decision = Decision(label=label, confidence=mean)
        if mean >= self._settings.leave:
            self._open_since_ns = None
        elif self._open_since_ns is None:
            self._open_since_ns = now_ns
        elif now_ns - self._open_since_ns >= 2 * self._within_ns:
            self.decision = votes.unsure(self._settings.min_looks)
