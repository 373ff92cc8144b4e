-- What many commits leave in one flush may be seen a moment before it is on disk (0006_each). Nobody
-- tells others of it, keeps it or answers by it before this: whoever reads facts for that asks here in
-- the same statement, after what is read, and is answered when everything seen is on disk, and on a
-- synchronous standby if there is one.
-- depends: 0001_log

CREATE FUNCTION flushed() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    -- How far a standby is, only a commit finds out.
    IF pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn()
       OR current_setting('synchronous_standby_names') <> '' THEN
        -- A commit waits only if its transaction left a word in PostgreSQL's log; then it waits for all
        -- that stands before it.
        PERFORM pg_logical_emit_message(true, 'flushed', '');
    END IF;
    RETURN true;
END $$;
