"""What the cluster and the gateway are doing: the page's live stream and the metrics."""
