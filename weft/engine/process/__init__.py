"""The engine across processes: messages, the client in one process or two, the child process and its restarts."""
