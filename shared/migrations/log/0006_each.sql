-- Many writes in one question, of one office or of the service itself: each a transaction of its own,
-- committed before the next begins, and all of them on disk before the question is answered. A procedure
-- that commits can have no search_path of its own, so names are in full; it runs with the caller's
-- rights, so none comes through another's door.
-- depends: 0005_office

-- p_organisations are the office's own, or NULL for the service itself; p_counts says how many of the
-- facts are each write's. Answers for each what went wrong, as its
-- SQLSTATE and the constraint's name, or nothing; what goes wrong with one is undone, and only that.
CREATE PROCEDURE write_each(
    p_organisations text[], p_rests text[], p_counts integer[],
    p_streams text[], p_versions integer[], p_ids text[], p_types text[], p_subjects text[],
    p_envelopes text[], p_datas text[], p_hashes text[], p_traceparents text[],
    INOUT errors text[]
) LANGUAGE plpgsql AS $$
DECLARE
    first integer := 1;
    last integer;
    state text;
    violated text;
BEGIN
    errors := '{}';
    FOR i IN 1 .. cardinality(p_rests) LOOP
        last := first + p_counts[i] - 1;
        SET LOCAL synchronous_commit = off;
        BEGIN
            IF p_organisations IS NULL THEN
                PERFORM ${schema}.write_facts(
                    p_rests[i]::jsonb, p_streams[first:last], p_versions[first:last],
                    p_ids[first:last], p_types[first:last], p_subjects[first:last], p_envelopes[first:last],
                    p_datas[first:last], p_hashes[first:last], p_traceparents[first:last]);
            ELSE
                PERFORM ${schema}.api_write(
                    p_organisations, p_rests[i]::jsonb, p_streams[first:last], p_versions[first:last],
                    p_ids[first:last], p_types[first:last], p_subjects[first:last], p_envelopes[first:last],
                    p_datas[first:last], p_hashes[first:last], p_traceparents[first:last]);
            END IF;
            errors := errors || ''::text;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, violated = CONSTRAINT_NAME;
            errors := errors || (state || ' ' || violated);
        END;
        COMMIT;
        first := last + 1;
    END LOOP;
    -- One flush for all of them, by a transaction that leaves a word and so waits for what is before it
    -- (0002_flushed): also where the last write was refused and left nothing.
    PERFORM pg_logical_emit_message(true, 'flushed', '');
    COMMIT;
END $$;

GRANT EXECUTE ON PROCEDURE write_each(
    text[], text[], integer[], text[], integer[], text[], text[], text[], text[], text[], text[], text[], text[]
) TO ${api}, ${worker};
