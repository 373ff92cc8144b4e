-- The log of one service and everything that is written together with it.
-- Applied once per service schema with search_path set to that schema; the functions keep it.
-- depends:

CREATE TABLE facts (
    position    bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
    stream      text    NOT NULL,
    version     integer NOT NULL CHECK (version > 0),
    fact_id     text    NOT NULL,
    type        text    NOT NULL,
    subject     text    NOT NULL,
    envelope    text    NOT NULL,
    data        text    NOT NULL CHECK (octet_length(data) <= 262144),
    hash        text    NOT NULL,
    traceparent text    NOT NULL DEFAULT '',
    stored_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (stream, version)
) WITH (toast_tuple_target = 8160);  -- stays in its page, uncompressed, as long as it fits
CREATE INDEX facts_by_subject ON facts (subject);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log is append-only' USING ERRCODE = 'BF001';
END $$;
CREATE TRIGGER facts_stay BEFORE UPDATE OR DELETE ON facts
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER facts_stay_whole BEFORE TRUNCATE ON facts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Guard rows: a sum per key, derived from the facts, compared again in the write.
CREATE TABLE guards (
    key   text   PRIMARY KEY,
    value bigint NOT NULL
);

-- Read models, work lists and timers: a pure function of one stream's state.
CREATE TABLE views (
    model        text NOT NULL,
    key          text NOT NULL,
    stream       text NOT NULL,
    subject      text NOT NULL,
    organisation text NOT NULL DEFAULT '',
    role         text NOT NULL DEFAULT '',
    status       text NOT NULL DEFAULT '',
    due_on       date,
    document     text NOT NULL,
    PRIMARY KEY (model, key)
-- A document that changes stays on its page, uncompressed, and its indexes as they are.
) WITH (fillfactor = 75, toast_tuple_target = 8160);
CREATE INDEX views_by_stream ON views (stream);
CREATE INDEX views_by_office ON views (organisation, role, key) WHERE model = 'work';
CREATE INDEX views_by_due ON views (due_on) WHERE model = 'timer';

-- Who may see what: the holder of a subject (a case, or a stream without one) and its ancestors.
CREATE TABLE case_scope (
    subject      text NOT NULL,
    organisation text NOT NULL,
    holder       boolean NOT NULL,
    from_day     date NOT NULL,
    to_day       date,
    PRIMARY KEY (subject, organisation, from_day)
);
CREATE INDEX case_scope_by_holder ON case_scope (organisation) WHERE holder AND to_day IS NULL;

CREATE TABLE commands (
    key           text PRIMARY KEY,
    body_mac      text NOT NULL,
    stream        text NOT NULL,
    first_version integer NOT NULL,
    last_version  integer NOT NULL,
    fact_ids      text NOT NULL,
    stored_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What this service copies from the facts of others (or its own) to decide with; not of any case.
CREATE TABLE reference (
    ordinal  bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
    kind     text NOT NULL,
    key      text NOT NULL UNIQUE,
    document text NOT NULL
);

-- Hearing: how far each stream and each partition were taken in, and what waits.
CREATE TABLE watermarks (
    stream  text PRIMARY KEY,
    version integer NOT NULL
) WITH (fillfactor = 75);
CREATE TABLE offsets (
    topic       text    NOT NULL,
    partition   integer NOT NULL,
    generation  text    NOT NULL,
    next_offset bigint  NOT NULL,
    PRIMARY KEY (topic, partition)
);
CREATE TABLE held (
    held_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key           text    NOT NULL,
    topic         text    NOT NULL,
    partition     integer NOT NULL,
    record_offset bigint  NOT NULL,
    generation    text    NOT NULL,
    headers       bytea   NOT NULL,
    value         bytea,
    reason        text    NOT NULL,
    waits_for     text    NOT NULL DEFAULT '',
    released      boolean NOT NULL DEFAULT false,
    held_since    timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (topic, partition, record_offset, generation)
);
CREATE INDEX held_by_key ON held (key, held_id);

-- The relay: one at a time by a lease whose epoch fences every checkpoint update.
CREATE TABLE lease (
    name       text PRIMARY KEY,
    holder     text   NOT NULL DEFAULT '',
    epoch      bigint NOT NULL DEFAULT 0,
    expires_at timestamptz NOT NULL DEFAULT '-infinity'
);
CREATE TABLE checkpoint (
    name       text PRIMARY KEY,           -- the outbox table that is relayed
    position   bigint NOT NULL DEFAULT 0,  -- published and acknowledged up to here
    ends       text   NOT NULL DEFAULT '{}',  -- end offset by partition at that moment
    generation text   NOT NULL DEFAULT '',
    epoch      bigint NOT NULL DEFAULT 0
);

CREATE TABLE denials (
    denied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor     text NOT NULL,
    attempt   text NOT NULL,
    subject   text NOT NULL
);
