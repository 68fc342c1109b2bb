"""What each benchmark is meant to cost: shown beside the figure, never a gate."""

from collections.abc import Mapping

BUDGETS: Mapping[str, str] = {
    "echo_rpc": "<= 6 us, one in flight <= 14 us",
    "direct_durable": "<= 57 us (stretch 46), >= 15,000/s, p99 at half <= 10 ms",
    "fanout_1k": "<= 3.5 us a delivery, one in flight <= 8.5 us",
    "fanout_10k": "<= 5 us a delivery, one in flight <= 10 us; direct beside p99 <= 25 ms",
    "idle_memory": "<= 10 KiB (stretch 8), CPU <= 1 %",
    "login": "<= 300 us (stretch 200), >= 3,000/s",
    "resume": "<= 450 us; by sync.difference <= 1,500 us",
    "group_commit": "at 50: <= 30 us, from 100 on: <= 22 us, >= 30,000/s",
    "bus_hop": "<= 8 us and p99 <= 3 ms more than on one node",
    "slow_reader": "<= 200 KiB a stalled one, all 3008 in <= 15 s, others' p99 x 1.2",
    "churn": "objects and memory flat within 1 %",
    "drain": "all see 3001, nothing acked is lost, exit 0 in 30 s",
    "peers": "a room <= 1.3 x NATS; the others for orientation",
    "soak": "lost, doubled, swapped 0; memory, descriptors, tasks, Redis, PostgreSQL flat",
    "channel_post": "<= 5 ms, 10^6 rows <= 1.2 x 10^3; join, leave <= 5 ms, first page <= 20 ms",
    "channel_post_10m": "the same with 10^7 rows",
    "channel_room": "as fanout_10k; post to last reader p99 <= 300 ms",
    "channel_views": "no post with a wrong number",
    "join_flood": "others' p99 <= 2 x idle, every refusal explains itself",
    "reconnect_storm": "all back and caught up in <= 10 s, others' p99 <= 50 ms",
}
"""For two cores shared with the driver (issue B, performance design section 14)."""

CHANNEL_POST = ("p50_ms_by", "ratio", "join_p50_ms", "first_page_p50_ms", "filled_s", "filled_gib")
HEADLINES: Mapping[str, tuple[str, ...]] = {
    "direct_durable": ("mean_batch", "peak_p99_ms", "half_rate_per_s", "half_cpu_us"),
    "fanout_1k": ("w1_rate_per_s", "w1_p99_ms"),
    "fanout_10k": ("direct_p50_ms", "direct_p99_ms", "w1_rate_per_s"),
    "idle_memory": ("gateway_cpu_share",),
    "resume": ("difference_cpu_us", "difference_p99_ms"),
    "group_commit": ("cpu_us_at",),
    "bus_hop": ("same_node_cpu_us", "more_cpu_us", "more_p99_ms"),
    "slow_reader": ("stalled", "slow_closes", "kib_per_stalled", "seconds_to_3008", "p99_ratio"),
    "churn": ("objects_grown", "rss_grown"),
    "drain": ("seen_3001", "seconds_to_exit", "exit"),
    "peers": ("peyk_cpu_us", "peyk_by_peer", "spread", "peer_lost", "skipped"),
    "soak": ("flat", "not_flat", "grown"),
    "channel_post": CHANNEL_POST,
    "channel_post_10m": CHANNEL_POST,
    "channel_room": ("readers", "last_reader_p99_ms"),
    "channel_views": ("moves", "views", "wrong"),
    "join_flood": ("idle_p99_ms", "p99_ratio", "joined", "refused", "unexplained"),
    "reconnect_storm": ("back_s", "caught_up_s", "beside_p99_ms", "retries"),
}
"""Of `more`: what is printed for people beside the row's own figures."""
