-- What a person asks of the consumer: to put a held record aside for good.
-- The consumer carries it out in its one write, and the row tells when.
-- depends: 0001_log

CREATE TABLE discards (
    held_id        bigint PRIMARY KEY,
    topic          text    NOT NULL,
    partition      integer NOT NULL,
    record_offset  bigint  NOT NULL,
    generation     text    NOT NULL,
    -- The record's own words, where it can be read.
    stream         text    NOT NULL DEFAULT '',
    version        integer NOT NULL DEFAULT 0,
    reason         text    NOT NULL CHECK (reason <> ''),
    operator       text    NOT NULL,
    -- Also pass the version that an unreadable record says it is.
    skip_version   boolean NOT NULL DEFAULT false,
    -- Of the fact that will state it; drawn by whoever asks, who can find it by this.
    fact_id        text    NOT NULL,
    asked_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    carried_out_at timestamptz
);
CREATE INDEX discards_by_place ON discards (topic, partition, record_offset, generation);

-- However the held record leaves, what was asked of it is over.
CREATE FUNCTION end_discards() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE discards d SET carried_out_at = clock_timestamp()
        FROM gone g WHERE d.held_id = g.held_id AND d.carried_out_at IS NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER held_records_leave AFTER DELETE ON held REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION end_discards();
