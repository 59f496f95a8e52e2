"""What can be seen of the service at work: log lines, metrics, health."""
