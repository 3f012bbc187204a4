"""The shelf of networks: each maps a batch of inputs to (N, K) raw class scores."""
