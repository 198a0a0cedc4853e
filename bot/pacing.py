"""Pacing: what may leave a channel now. Pure: time is an argument (seconds of a monotonic clock).

Theory of operation. A message needs a token from every bucket that it falls into: the channel's (one for bulk, which
replies may overdraw where the platform does not count them) and its address's (a person, or a group). A 429 stops
exactly the scope that it names. Replies that nothing holds keep to the channel's rate for a minute after their own 429:
else all that wait would run into the limit together, a second later, again and again. Tokens are released in slices,
not by a sleep per message. A new owner of a channel starts with empty buckets and is told what the last 60 seconds
sent (`remember`).

Limits: address buckets that are full again and stops that are over are forgotten whenever there are twice as many as
the last look left, so memory follows the busy addresses only, and a look costs each new address a fraction of a
microsecond, however many there are.
"""

from __future__ import annotations

from bot.channels.base import Pace, Rate

# How often bulk is released. A slice costs a commit, so it is not shorter; a bucket holds 50 ms' worth, so it is not
# longer: a waking that comes late may lose no token.
SLICE_S = 0.020
SLOWED_S = 60.0  # replies after a 429 of theirs: each further one begins it anew, so a rush meets a few, not thousands
ADDRESSES = 1_000  # kept before any are forgotten, 0.3 MB; at 30 messages/s more than a window's worth


class Bucket:
    """Tokens flow in at `rate.per_second` up to `rate.burst`; may go below zero by `force`."""

    __slots__ = ("_burst", "_per_second", "_tokens", "_updated")

    def __init__(self, rate: Rate, now: float, *, full: bool) -> None:
        self._per_second = rate.per_second
        self._burst = float(rate.burst)
        self._tokens = self._burst if full else 0.0
        self._updated = now

    def _flow(self, now: float) -> None:
        if now > self._updated:  # a clock that stands still or steps back gives nothing
            self._tokens = min(self._burst, self._tokens + (now - self._updated) * self._per_second)
            self._updated = now

    def has(self, now: float) -> bool:
        """Whether a token lies ready."""
        self._flow(now)
        return self._tokens >= 1.0 - 1e-9

    def take(self, now: float) -> None:
        """Takes a token, also one that is not there yet."""
        self._flow(now)
        self._tokens -= 1.0

    def overdrawn(self, now: float) -> bool:
        """Whether more was taken than flowed in."""
        self._flow(now)
        return self._tokens < 0.0

    def full(self, now: float) -> bool:
        """Whether it says nothing about the past any more."""
        self._flow(now)
        return self._tokens >= self._burst

    def ready_in(self, now: float) -> float:
        """Seconds until a token lies ready."""
        self._flow(now)
        return max(0.0, (1.0 - self._tokens) / self._per_second)


class Pacing:
    """The buckets of one channel."""

    def __init__(self, pace: Pace, now: float, *, fresh: bool = True) -> None:
        """`fresh`: nothing was sent lately (a new channel); else the buckets start empty."""
        self._pace = pace
        self._fresh = fresh
        self._bulk = Bucket(pace.per_channel, now, full=fresh)
        replies = pace.replies_per_channel
        self._replies = None if replies is None else Bucket(replies, now, full=fresh)
        self._slowed: Bucket | None = None  # the replies' after a 429, where they have none
        self._slowed_until = 0.0
        self._addresses: dict[str, Bucket] = {}
        self._stopped: dict[str, float] = {}  # address → until
        self._look_at = ADDRESSES  # so many of both
        self._channel_stopped_until = 0.0
        self._bulk_stopped_until = 0.0

    def release(self, address: str, scope: str, lane: int, now: float) -> bool:
        """Takes the tokens for one message and says true, or takes none and says false. `lane` 0 is a reply."""
        if now < self._channel_stopped_until or (lane and now < self._bulk_stopped_until):
            return False
        if self._stopped and now < self._stopped.get(address, 0.0):
            return False
        channel = self._channel(lane, now)
        bucket = self._bucket(address, scope, now)
        waits = bucket is not None and (lane != 0 or scope == "group" or self._pace.replies_wait)
        if (channel is not None and not channel.has(now)) or (
            bucket is not None and waits and not bucket.has(now)
        ):
            return False
        if channel is not None:
            channel.take(now)
        if bucket is not None:
            bucket.take(now)
        if lane == 0 and channel is not self._bulk:
            self._bulk.take(now)  # what replies use is not there for bulk: the platform counts them together
        return True

    def open(self, lane: int, now: float) -> bool:
        """Whether anything of this lane could leave now; false spares a look at every waiting message."""
        if now < self._channel_stopped_until or (lane and now < self._bulk_stopped_until):
            return False
        channel = self._channel(lane, now)
        return channel is None or channel.has(now)

    def stop(self, scope: str, address: str, lane: int, seconds: float, now: float) -> None:
        """The platform said to wait: `scope` is "channel" or "address". A bulk message's 429 stops bulk on the whole
        channel; replies go on until they get their own, then they keep to the channel's rate for `SLOWED_S`. An
        address that got more than it may get is itself the reason: nobody waits for one who writes too fast."""
        until = now + seconds
        bucket = self._addresses.get(address)
        if scope == "address" or (lane == 0 and bucket is not None and bucket.overdrawn(now)):
            self._make_room(now)
            self._stopped[address] = max(until, self._stopped.get(address, 0.0))
        elif lane == 0:
            self._channel_stopped_until = max(until, self._channel_stopped_until)
            if self._replies is None:
                self._slowed = self._slowed or Bucket(self._pace.per_channel, until, full=True)
                self._slowed_until = max(until + SLOWED_S, self._slowed_until)
            self._bulk_stopped_until = max(until, self._bulk_stopped_until)
        else:
            self._bulk_stopped_until = max(until, self._bulk_stopped_until)

    def remember(self, address: str, scope: str, lane: int, now: float) -> None:
        """A former owner sent this a moment ago: its token is gone."""
        bucket = self._bucket(address, scope, now)
        if bucket is not None:
            bucket.take(now)

    def pause_s(self, address: str, scope: str, lane: int, now: float) -> float:
        """Seconds until `release` can say true for this message, as far as can be known."""
        waits = [self._channel_stopped_until - now, self._stopped.get(address, 0.0) - now]
        if lane:
            waits.append(self._bulk_stopped_until - now)
        channel = self._channel(lane, now)
        if channel is not None:
            waits.append(channel.ready_in(now))
        bucket = self._bucket(address, scope, now)
        if bucket is not None and (lane != 0 or scope == "group" or self._pace.replies_wait):
            waits.append(bucket.ready_in(now))
        return max(0.0, *waits)

    def _channel(self, lane: int, now: float) -> Bucket | None:
        """The channel's bucket for this lane; None: nothing but a 429 holds it."""
        if lane:
            return self._bulk
        if self._slowed is not None and now >= self._slowed_until:
            self._slowed = None
        return self._slowed or self._replies

    def _bucket(self, address: str, scope: str, now: float) -> Bucket | None:
        rate = self._pace.per_group if scope == "group" else self._pace.per_address
        if rate is None:
            return None
        bucket = self._addresses.get(address)
        if bucket is None:
            self._make_room(now)
            # An address that this owner has not written to starts full: what others sent is told by `remember`.
            bucket = self._addresses[address] = Bucket(rate, now, full=True)
        return bucket

    def _make_room(self, now: float) -> None:
        if len(self._addresses) + len(self._stopped) < self._look_at:
            return
        self._addresses = {a: b for a, b in self._addresses.items() if not b.full(now)}
        self._stopped = {a: until for a, until in self._stopped.items() if until > now}
        self._look_at = max(ADDRESSES, 2 * (len(self._addresses) + len(self._stopped)))
