"""The one format of log lines, for the command, the engine's process and the HTTP server. All are written to stderr."""

LOG_FORMAT = "%(levelname)s %(asctime)s %(name)s: %(message)s"
LOG_TIME = "%H:%M:%S"
