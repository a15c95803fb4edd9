"""server.telemetry.metrics: names as api.md §9 prints them."""

from __future__ import annotations

from server.telemetry import metrics


def test_metrics_carry_the_prefix_and_the_names_of_the_api() -> None:
    metrics.SMTP_MESSAGES.labels("smtp", "accepted").inc()
    metrics.QUEUE_LENGTH.labels("queued").set(3)
    text = metrics.render().decode()
    assert 'mairust_smtp_messages_total{listener="smtp",verdict="accepted"}' in text
    assert 'mairust_queue_length{status="queued"} 3.0' in text
    assert "mairust_commit_duration_seconds_bucket" in text
