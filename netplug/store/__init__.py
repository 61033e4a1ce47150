"""Where records are kept: one SQLite file, or memory.

    store = await SqliteStore.opened(Path("/var/lib/pynet/state.db"))
    await store.commit(Batch(puts=(network, lease), is_durable=True))
    async for records in store.load(): ...

`sqlite` is the store over a `database` that only its own thread touches; `lock` keeps a second
daemon out, `migrate` makes the schema, `codec` turns records into JSON. `memory` keeps the same
promises until the process ends.

Not here: what the records mean (`netplug.model`), when to write them (`netplug.service`).
"""
