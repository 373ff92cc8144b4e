"""`python -m tests.samples [--replace]`: store samples and schemas of facts that are new.

A fact whose schema changed otherwise than by a new field with a default is refused: it needs a new
schema version and an upcaster. `--replace` writes it anew all the same, for facts that no log has
ever held; samples of a service that no longer states them go as well then.
"""

import sys

from tests.samples.making import (
    FOLDER,
    SCHEMAS,
    all_facts,
    breaks,
    sample_of,
    sample_path,
    schema_of,
    schema_path,
    stored,
    written,
)


def main() -> int:
    replace = "--replace" in sys.argv[1:]
    if replace:
        names = {fact.stored_name for fact in all_facts()}
        for folder in (FOLDER, SCHEMAS):
            for path in folder.glob("bangfu.*.json"):
                if path.name.rpartition(".v")[0] not in names:
                    path.unlink()
    refused = 0
    for fact in all_facts():
        name, version = fact.stored_name, fact.schema_version
        sample, schema = sample_path(name, version), schema_path(name, version)
        now = schema_of(fact)
        broken = list(breaks(stored(schema), now)) if schema.exists() else []
        if broken and not replace:
            refused += 1
            print(f"{name} {version} changed without a new version: {'; '.join(broken)}")
            continue
        if broken or not sample.exists():
            sample.write_bytes(sample_of(fact) + b"\n")
        schema.write_bytes(written(now))
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
