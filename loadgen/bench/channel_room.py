"""`channel_room`: posts to a channel that ten thousand have open on screen, on one node.

As `fanout_10k`, with a channel for the group: nobody may post but its owner, posts name the
channel, and its subscribers are rows that nothing on the way of a post reads.
"""

from loadgen.bench.channel import channel
from loadgen.bench.fanout import W, measure
from loadgen.bench.room import judge, opened
from loadgen.bench.row import Row, per_unit
from loadgen.bench.samples import percentile_ms
from loadgen.bench.stage import Stage


async def run(stage: Stage) -> Row:
    row = Row(name="channel_room")
    room = await opened(stage, row, stage.scale.many_readers, make=channel)
    units, cost = await measure(stage, room, 1)
    row.doubt(cost)
    row.cpu_us_w1 = per_unit(cost, units)[0]
    row.more["last_reader_p50_ms"] = percentile_ms(room.waits, 0.5)
    row.more["last_reader_p99_ms"] = percentile_ms(room.waits, 0.99)
    units, cost = await measure(stage, room, W)
    row.charge(cost, units)
    row.p50_ms, row.p99_ms = percentile_ms(room.waits, 0.5), percentile_ms(room.waits, 0.99)
    row.more["in_flight"] = W
    await judge(stage, room, row)
    await stage.driver.close()
    return row
