-- The state of raypipe in a DuckDB file: schema `_raypipe`, shared by all pipelines that write to the file.
-- All times are UTC. Ranges are half open: [lo, hi). Nothing here is ever written but in the transaction that changes the tables.

-- name: create_schema
-- The room of raypipe's own tables: query it freely, change nothing.
CREATE SCHEMA _raypipe;

-- name: create_format
-- One row: the version of this layout; another version is refused, never guessed.
CREATE TABLE _raypipe.format (version INTEGER NOT NULL);
COMMENT ON TABLE _raypipe.format IS 'The version of the layout of this schema.';

-- name: create_pipeline
-- One row a pipeline; every commit writes to it first, which serialises them.
CREATE TABLE _raypipe.pipeline (
    pipeline VARCHAR PRIMARY KEY,
    commit_seq BIGINT NOT NULL,      -- +1 with every commit
    start TIMESTAMP NOT NULL,        -- time.start: where the low watermark counts from
    watermark TIMESTAMP              -- every shard before it is committed; null when the first is not
);
COMMENT ON TABLE _raypipe.pipeline IS 'One row a pipeline: commit sequence and low watermark.';
COMMENT ON COLUMN _raypipe.pipeline.watermark IS 'Every shard before this time is committed, for every output.';

-- name: create_tables
-- Which pipeline writes which output table; no table has two.
CREATE TABLE _raypipe.tables (
    output VARCHAR NOT NULL, pipeline VARCHAR NOT NULL,
    created BOOLEAN NOT NULL,        -- the first contribution creates the table
    merge VARCHAR                    -- JSON: how contributions_<output> becomes the table; null: it is the union of contributions
);
COMMENT ON TABLE _raypipe.tables IS 'The output tables and the one pipeline that writes each.';

-- name: create_views
-- The views that a pipeline keeps over its own tables. Files of earlier versions get it when the first view comes.
CREATE TABLE IF NOT EXISTS _raypipe.views (
    view VARCHAR NOT NULL, pipeline VARCHAR NOT NULL,
    sql VARCHAR NOT NULL,
    made BOOLEAN NOT NULL            -- whether the view stands with this SQL; it waits until all tables of the pipeline are there
);
COMMENT ON TABLE _raypipe.views IS 'The views over output tables and the one pipeline that keeps each.';

-- name: create_runs
-- One row a run; commits compare its epoch by a write, so that nothing lands after a take-over, cancel or close.
CREATE TABLE _raypipe.runs (
    pipeline VARCHAR NOT NULL,
    run VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,           -- run | backfill | accept | compact
    lo TIMESTAMP, hi TIMESTAMP,      -- the window asked for; null: all of history
    state VARCHAR NOT NULL,          -- open | publishing | done | failed | cancelled
    epoch BIGINT NOT NULL,           -- +1 on each take-over, cancel and close
    holder VARCHAR NOT NULL,         -- host:pid:process start time
    definitions VARCHAR NOT NULL,    -- JSON: version of each output's definition
    versions VARCHAR NOT NULL,       -- JSON: versions of raypipe and its engines
    outside BIGINT NOT NULL,         -- rows of the source that belong to no shard
    started TIMESTAMP NOT NULL,
    heartbeat TIMESTAMP NOT NULL,
    ended TIMESTAMP,
    ended_seq BIGINT                 -- commit_seq when it ended: no later commit is of this run
);
COMMENT ON TABLE _raypipe.runs IS 'One row a run: what was asked for, who holds it, how it ended.';

-- name: create_definitions
-- Every definition that an output ever had; a version number only grows, and a revert gets a new one.
CREATE TABLE _raypipe.definitions (
    pipeline VARCHAR NOT NULL, output VARCHAR NOT NULL, version BIGINT NOT NULL,
    fingerprint VARCHAR NOT NULL,
    parts VARCHAR NOT NULL,          -- JSON: what the fingerprint was made from, by name
    run VARCHAR NOT NULL, seen TIMESTAMP NOT NULL
);
COMMENT ON TABLE _raypipe.definitions IS 'What each output was made by, numbered when a run opens.';

-- name: create_schemas
-- The columns of contributions, so that digests can be proven after columns were added or widened.
CREATE TABLE _raypipe.schemas (
    pipeline VARCHAR NOT NULL, output VARCHAR NOT NULL, number BIGINT NOT NULL,
    columns VARCHAR NOT NULL         -- JSON: [[name, DuckDB type], ...], sorted by name, without _shard
);
COMMENT ON TABLE _raypipe.schemas IS 'The columns that contributions had when they were committed.';

-- name: create_live
-- The ranges whose contributions make up the tables now; disjoint per output and replaced whole.
CREATE TABLE _raypipe.live (
    pipeline VARCHAR NOT NULL, output VARCHAR NOT NULL,
    lo TIMESTAMP NOT NULL, hi TIMESTAMP NOT NULL,
    seq BIGINT NOT NULL,             -- the commit that put it there
    run VARCHAR NOT NULL, attempt VARCHAR NOT NULL,
    definition BIGINT NOT NULL,      -- what made it, or what it was accepted as: another one now means that the range is stale
    input_fp VARCHAR NOT NULL,       -- fingerprint of the input, or of what was accepted as it: another one now means late; of parts, if compacted
    output_fp VARCHAR NOT NULL,      -- multiset digest of the rows of this output
    rows BIGINT NOT NULL,
    files BIGINT NOT NULL,           -- slices of the input: fewer now means that the source shrank
    schema_number BIGINT             -- the columns of the contribution; null when it left no table
);
COMMENT ON TABLE _raypipe.live IS 'The ranges whose contributions make up the output tables now.';

-- name: create_parts
-- What each compacted live range was read from: it is late, or its source shrank, if that is so of any of its parts.
CREATE TABLE _raypipe.parts (
    pipeline VARCHAR NOT NULL, output VARCHAR NOT NULL,
    live_seq BIGINT NOT NULL,        -- the commit that compacted
    lo TIMESTAMP NOT NULL, hi TIMESTAMP NOT NULL,
    seq BIGINT NOT NULL,             -- the commit that read the part, and accounts for it
    input_fp VARCHAR NOT NULL,       -- as in live
    files BIGINT NOT NULL,           -- as in live
    rows BIGINT, output_fp VARCHAR, schema_number BIGINT   -- as in live, where the rows of the part stand as they were; null: they were merged
);
COMMENT ON TABLE _raypipe.parts IS 'The ranges that were merged into compacted live ranges, and the input of each.';

-- name: create_shards
-- The ledger: one row for each shard of each commit; only ever added to.
CREATE TABLE _raypipe.shards (
    pipeline VARCHAR NOT NULL, seq BIGINT NOT NULL,
    lo TIMESTAMP NOT NULL, hi TIMESTAMP NOT NULL,
    run VARCHAR NOT NULL, attempt VARCHAR NOT NULL, epoch BIGINT NOT NULL,
    commit_id VARCHAR NOT NULL,      -- asking for the same commit again finds it here
    outcome VARCHAR NOT NULL,        -- loaded | empty | satisfied | superseded | accepted_stale | accepted_shrunk | compacted
    outputs VARCHAR NOT NULL,        -- JSON: the output tables that it contributed to
    input_fp VARCHAR NOT NULL, output_fp VARCHAR NOT NULL,
    read BIGINT NOT NULL, expanded BIGINT NOT NULL, loaded BIGINT NOT NULL,
    filtered BIGINT NOT NULL, duplicate BIGINT NOT NULL, quarantined BIGINT NOT NULL,
    event_start TIMESTAMP, event_end TIMESTAMP,   -- earliest and latest event time read, both inclusive
    warnings VARCHAR NOT NULL,       -- JSON: texts
    seconds DOUBLE NOT NULL,
    committed TIMESTAMP NOT NULL,
    CHECK (read + expanded = loaded + filtered + duplicate + quarantined),
    CHECK (least(read, expanded, loaded, filtered, duplicate, quarantined) >= 0)
);
COMMENT ON TABLE _raypipe.shards IS 'The ledger: every committed shard with its row accounts. Append-only.';

-- name: create_filtered
-- What each rule and filter did to a shard of a commit.
CREATE TABLE _raypipe.filtered (
    pipeline VARCHAR NOT NULL, seq BIGINT NOT NULL, lo TIMESTAMP NOT NULL,
    kind VARCHAR NOT NULL,           -- filtered: rows dropped by it | broken: rows that broke it, whatever was done with them
    rule VARCHAR NOT NULL, rows BIGINT NOT NULL
);
COMMENT ON TABLE _raypipe.filtered IS 'Rows dropped by each filter, and rows that broke each rule, by commit and shard.';

-- name: create_coverage
-- The union of the live ranges of each output, those that touch made one.
CREATE TABLE _raypipe.coverage (pipeline VARCHAR NOT NULL, output VARCHAR NOT NULL, lo TIMESTAMP NOT NULL, hi TIMESTAMP NOT NULL);
COMMENT ON TABLE _raypipe.coverage IS 'Committed ranges of each output; holes between them are gaps.';

-- name: create_failed
-- Shards that failed in their last run and were not committed since.
CREATE TABLE _raypipe.failed (
    pipeline VARCHAR NOT NULL, lo TIMESTAMP NOT NULL, hi TIMESTAMP NOT NULL,
    run VARCHAR NOT NULL, code VARCHAR NOT NULL, error VARCHAR NOT NULL, retryable BOOLEAN NOT NULL, failed TIMESTAMP NOT NULL
);
COMMENT ON TABLE _raypipe.failed IS 'Shards that failed and were not committed since, with the reason.';

-- name: create_late
-- Ranges known to be late: an older definition read their input when a newer one was already live.
CREATE TABLE _raypipe.late (pipeline VARCHAR NOT NULL, lo TIMESTAMP NOT NULL, hi TIMESTAMP NOT NULL, reason VARCHAR NOT NULL, seq BIGINT NOT NULL);
COMMENT ON TABLE _raypipe.late IS 'Ranges whose input an older definition read when a newer one was live; the next commit of the range clears it.';

-- name: create_quarantine
-- Rows set aside, with the reason, for the shards that are live.
CREATE TABLE _raypipe.quarantine (
    pipeline VARCHAR NOT NULL,
    shard TIMESTAMP NOT NULL,        -- start of the shard that accounts for the row
    seq BIGINT NOT NULL, run VARCHAR NOT NULL,
    source VARCHAR, position BIGINT, -- file, and line or row in it
    rule VARCHAR NOT NULL, error VARCHAR,
    raw VARCHAR USING COMPRESSION zstd, -- the last rows of a table are written anew by every commit: so it is cheapest
    truncated BOOLEAN NOT NULL
);
COMMENT ON TABLE _raypipe.quarantine IS 'Rows that broke a rule, with source, position and the raw text.';

-- name: insert_format
-- Say which layout this is.
INSERT INTO _raypipe.format VALUES ($version);
