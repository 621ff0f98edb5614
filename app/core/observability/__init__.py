"""What operators see: metrics, traces, prices, health."""
