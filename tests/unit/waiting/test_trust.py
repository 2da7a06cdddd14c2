"""How far pushes can be relied on, and what is kept until somebody waits."""

from __future__ import annotations

import pytest

from refold_async._waiting.push import Early
from refold_async._waiting.trust import SILENT, Share, Silence, Trust
from refold_async._waiting.watch import Hint, Watch


class Waited(Watch):
    """A run somebody waits for."""

    @property
    def wanted(self) -> bool:
        """Whether anybody waits."""
        return True


def waited(number: int) -> Waited:
    """Give a run that somebody waits for."""
    return Waited(f"run{number}", "acct", 0.0)


# -- a share -------------------------------------------------------------------------------------


def test_nothing_is_relied_on_before_a_push_has_told_an_end() -> None:
    """To the last digit: looks are then priced as without webhooks."""
    trust = Trust()
    assert trust.lost("acct") == 1.0
    for _ in range(500):
        trust.count("acct", lost=True)
    assert trust.lost("acct") == trust.of_all == 1.0


def test_pushes_that_come_are_relied_on_in_proportion() -> None:
    """After a hundred good ones hardly any look is worth it; there is always one in 250."""
    trust = Trust()
    shares = []
    for _ in range(400):
        trust.count("acct", lost=False)
        shares.append(trust.lost("acct"))
    assert shares == sorted(shares, reverse=True)
    assert shares[4] > 0.1
    assert shares[99] < 0.01
    assert shares[-1] == 0.004


def test_a_share_follows_what_comes() -> None:
    """A tenth lost is about a tenth; all lost after a good time is noticed within thirty ends."""
    share = Share()
    for number in range(300):
        share.count(lost=number % 10 == 0)
    assert share.lost(0.1) == pytest.approx(0.1, abs=0.05)
    for _ in range(30):
        share.count(lost=True)
    assert share.lost(0.1) > 0.5


def test_an_account_begins_where_the_client_stands_and_goes_its_own_way() -> None:
    """One of forty accounts may have no webhook: the others do not pay for it."""
    trust = Trust()
    for _ in range(200):
        trust.count("good", lost=False)
    assert trust.lost("new") == trust.of_all < 0.05
    for _ in range(40):
        trust.count("bad", lost=True)
    assert trust.lost("bad") > 0.6
    assert trust.lost("good") < 0.1


def test_accounts_that_never_return_are_forgotten() -> None:
    """Ten thousand are remembered."""
    trust = Trust()
    for number in range(10_050):
        trust.count(f"acct_{number}", lost=False)
    assert len(trust._accounts) == 10_000


# -- silence -------------------------------------------------------------------------------------


def test_eight_overdue_runs_without_any_push_are_silence() -> None:
    """Seven may be chance."""
    silence, runs = Silence(), [waited(number) for number in range(SILENT)]
    for number, watch in enumerate(runs):
        silence.expect(watch, 10.0 + number)
    assert silence.next_check == 10.0
    assert not silence.falls(16.9)
    assert silence.falls(17.0)
    assert silence.silent
    assert not silence.falls(18.0), "it falls once"


def test_any_push_ends_silence_and_the_count() -> None:
    """However many were lost before, they come again."""
    silence, runs = Silence(), [waited(number) for number in range(2 * SILENT)]
    for watch in runs[:SILENT]:
        silence.expect(watch, 10.0)
    assert silence.falls(11.0)
    silence.heard(12.0)
    assert not silence.silent
    for watch in runs[SILENT + 1 :]:
        silence.expect(watch, 13.0)
    assert not silence.falls(14.0), "only seven since"


@pytest.mark.parametrize("why", ["told", "seen", "left", "gone"])
def test_a_run_that_is_known_or_not_waited_for_is_not_overdue(why: str) -> None:
    """Only what is still waited for, untold, is missing a push."""
    silence = Silence()
    runs = [waited(number) for number in range(SILENT)]
    if why == "left":
        runs[0] = Watch("run0", "acct", 0.0)  # type: ignore[call-overload]
    for watch in runs:
        silence.expect(watch, 10.0)
    if why == "told":
        runs[0].hint = Hint(9.0, 9.0)
    elif why == "seen":
        runs[0].learned = True
    elif why == "gone":
        del watch, runs[0]
    assert not silence.falls(11.0)


def test_one_run_counts_once_however_often_it_is_waited_for() -> None:
    """A handle that is awaited again and again is no crowd."""
    silence, watch = Silence(), waited(1)
    for _ in range(50):
        silence.expect(watch, 10.0)
    assert not silence.falls(11.0)


# -- what came before anybody waited -------------------------------------------------------------


def test_an_event_is_kept_until_it_is_taken_once() -> None:
    """With the time it came: that is when the run had ended."""
    early = Early()
    early.keep("run1", "acct", 5.0)
    assert early.take("run1", "acct", 60.0) == 5.0
    assert early.take("run1", "acct", 60.0) is None


@pytest.mark.parametrize(
    ("told", "ours", "fits"),
    [
        pytest.param("acct", "acct", True, id="the same"),
        pytest.param("acct", "other", False, id="another"),
        pytest.param(None, "acct", True, id="not told"),
        pytest.param("acct", None, True, id="a session token's"),
    ],
)
def test_an_event_is_taken_by_its_account_only(
    told: str | None, ours: str | None, fits: bool
) -> None:
    """Where either is unknown the id decides; another account's event is left where it is."""
    early = Early()
    early.keep("run1", told, 5.0)
    assert (early.take("run1", ours, 6.0) is not None) is fits
    assert len(early) == (0 if fits else 1)


def test_events_are_kept_for_ten_minutes() -> None:
    """After that the run is looked at as any other."""
    early = Early()
    early.keep("run1", "acct", 0.0)
    early.keep("run2", "acct", 300.0)
    assert early.take("run2", "acct", 900.0) == 300.0
    early.keep("run3", "acct", 601.0)
    assert len(early) == 1, "the old one has made room"
    assert early.take("run1", "acct", 601.0) is None


def test_ten_thousand_events_are_kept() -> None:
    """Whoever replays or signs as many as they like uses no more memory than that."""
    early = Early()
    for number in range(12_000):
        early.keep(f"run{number}", "acct", 1.0)
    assert len(early) == 10_000
    assert early.take("run0", "acct", 1.0) is None
    assert early.take("run11999", "acct", 1.0) == 1.0


def test_a_replay_keeps_nothing_twice() -> None:
    """The latest stands, whoever's it was."""
    early = Early()
    early.keep("run1", "other", 1.0)
    early.keep("run1", "acct", 2.0)
    early.keep("run1", "acct", 3.0)
    assert len(early) == 1
    assert early.take("run1", "acct", 3.0) == 3.0
