"""The Docker Engine API, as far as names and leftovers need it.

    address = find_engine(settings.docker_host, os.environ)
    watcher = Watcher(EngineClient(address), driver="pynet", clock=SystemClock())
    async for update in watcher.updates():
        ...

Not here: anything that a plugin call waits for, and anything that changes the engine.
"""
