"""The engine across processes: what crosses, the client in one process or two, the child and its restarts."""
