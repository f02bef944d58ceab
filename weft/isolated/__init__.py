"""Work on data of strangers, in a process that has limits and can be killed.

    process.py    `IsolatedProcess`: this end, which starts the process, asks, and ends it
    worker.py     the other end
    frames.py     what goes over the socket between both
"""
