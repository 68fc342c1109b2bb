"""The catalogue of metrics in the text format, and the node's own counts."""

import gc
import math

from prometheus_client import CollectorRegistry, generate_latest

from messenger.metrics import CollectorPauses, Metrics, Spread, open_fds, rss_bytes, version


def scraped(metrics: Metrics) -> str:
    return generate_latest(metrics.registry).decode()


def test_given_labelled_counts_when_scraped_then_each_child_is_a_line() -> None:
    metrics = Metrics(CollectorRegistry())

    metrics.published_user.inc()
    metrics.published.labels("user").inc(2)
    metrics.closes.labels(3008).inc()

    assert 'peyk_published_total{topic_kind="user"} 3.0' in scraped(metrics)
    assert 'peyk_closes_total{code="3008"} 1.0' in scraped(metrics)


def test_given_observations_when_scraped_then_buckets_are_cumulative() -> None:
    metrics = Metrics()

    for seconds in (0.001, 0.0011, 99.0):
        metrics.rpc_seconds.labels("system.hello").observe(seconds)

    text = scraped(metrics)
    assert 'peyk_rpc_seconds_bucket{le="0.001",method="system.hello"} 1.0' in text
    assert 'peyk_rpc_seconds_bucket{le="0.002",method="system.hello"} 2.0' in text
    assert 'peyk_rpc_seconds_bucket{le="+Inf",method="system.hello"} 3.0' in text
    assert 'peyk_rpc_seconds_count{method="system.hello"} 3.0' in text


def test_given_a_value_on_a_bound_when_observed_then_it_counts_below_it() -> None:
    spread = Spread((1.0, 2.0))
    spread.observe(1.0)
    spread.observe(2.5)
    assert list(spread.buckets()) == [("1.0", 1.0), ("2.0", 1.0), ("+Inf", 2.0)]


def test_given_a_fresh_node_when_scraped_then_process_metrics_are_there() -> None:
    text = scraped(Metrics())
    assert "peyk_rss_bytes " in text
    assert "peyk_open_fds " in text
    assert 'peyk_build_info{commit="' in text
    assert "peyk_frames_total 0.0" in text


def test_given_the_hook_when_the_collector_runs_then_its_pause_is_counted() -> None:
    metrics = Metrics()

    with CollectorPauses(metrics):
        gc.collect()
    gc.collect()

    assert sum(metrics.gc_pause_seconds.counts) == 1


def test_given_a_system_without_proc_when_read_then_there_is_a_second_choice() -> None:
    assert math.isnan(open_fds("/nowhere"))
    assert rss_bytes("/nowhere") > rss_bytes() / 2
    assert version("not-installed-anywhere") == "unknown"
