"""Which request runs where and in what order. One file a policy."""
