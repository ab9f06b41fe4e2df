"""The file's tables, and how they came to be."""

# Each entry moves the file one version up; `PRAGMA user_version` says how many were applied.
MIGRATIONS = (
    """
    CREATE TABLE arm(
        id INTEGER PRIMARY KEY, name TEXT NOT NULL, model TEXT NOT NULL, provider TEXT NOT NULL,
        decoding_json TEXT NOT NULL, payload_sha TEXT NOT NULL, UNIQUE(name, payload_sha));
    CREATE TABLE problem(
        id INTEGER PRIMARY KEY, key TEXT NOT NULL, sha TEXT NOT NULL, level TEXT, subject TEXT,
        UNIQUE(key, sha));
    CREATE TABLE price(id INTEGER PRIMARY KEY, row_json TEXT NOT NULL UNIQUE);
    CREATE TABLE batch(
        id INTEGER PRIMARY KEY, intent_key TEXT NOT NULL UNIQUE, remote_id TEXT, state TEXT NOT NULL);
    CREATE TABLE attempt(
        id INTEGER PRIMARY KEY,
        arm INTEGER NOT NULL REFERENCES arm, problem INTEGER NOT NULL REFERENCES problem,
        purpose TEXT NOT NULL CHECK(purpose IN ('sample','pilot','judge','check','evaluate')),
        first_index INTEGER NOT NULL, n INTEGER NOT NULL,
        parent INTEGER REFERENCES attempt, batch INTEGER REFERENCES batch, endpoint TEXT,
        state TEXT NOT NULL
            CHECK(state IN ('reserved','sent','settled','failed','uncertain','released')),
        cause TEXT, price_id INTEGER REFERENCES price,
        reserved_pico INTEGER, cost_pico INTEGER,
        prompt INTEGER, cached INTEGER, output INTEGER, thinking INTEGER,
        usage_source TEXT CHECK(usage_source IN ('server','tokenizer','estimate')),
        http_status INTEGER, request_id TEXT, model_version TEXT, effective_json TEXT,
        created REAL NOT NULL, sent REAL, ended REAL);
    CREATE INDEX attempt_open ON attempt(state) WHERE state IN ('reserved','sent','uncertain');
    CREATE INDEX attempt_arm ON attempt(arm);
    CREATE TABLE draw(
        id INTEGER PRIMARY KEY, attempt INTEGER NOT NULL REFERENCES attempt,
        arm INTEGER NOT NULL REFERENCES arm, problem INTEGER NOT NULL REFERENCES problem,
        idx INTEGER NOT NULL, finish TEXT NOT NULL, UNIQUE(arm, problem, idx));
    CREATE TABLE draw_text(draw INTEGER PRIMARY KEY REFERENCES draw, text TEXT NOT NULL, reasoning TEXT);
    CREATE TABLE verdict(
        draw INTEGER NOT NULL REFERENCES draw, verifier TEXT NOT NULL, version TEXT NOT NULL,
        gold TEXT, outcome TEXT NOT NULL, extracted TEXT, norm_sha TEXT NOT NULL,
        PRIMARY KEY(draw, verifier, version)) WITHOUT ROWID;
    """,
    # Two more identities of a solution; NULL where it was judged before they existed.
    """
    ALTER TABLE verdict ADD COLUMN exact_sha TEXT;
    ALTER TABLE verdict ADD COLUMN equations_sha TEXT;
    """,
)
