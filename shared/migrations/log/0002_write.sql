-- The one write: guard rows in sorted order, reference rows, scopes, read models, the service's own rows, the
-- command's key or the watermarks, and the facts last, so that no position is drawn early.
-- depends: 0002_flushed

-- A service that keeps further tables replaces this; rows is a JSON array of its own making.
CREATE FUNCTION own_rows(rows jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$;

CREATE FUNCTION change_guard(p_key text, p_delta bigint, p_expect bigint, p_minimum bigint, p_maximum bigint)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE held_value bigint;
BEGIN
    IF p_delta <> 0 THEN
        INSERT INTO guards AS g (key, value) VALUES (p_key, p_delta)
            ON CONFLICT (key) DO UPDATE SET value = g.value + excluded.value
            RETURNING g.value - p_delta INTO held_value;
    ELSE
        INSERT INTO guards (key, value) VALUES (p_key, 0) ON CONFLICT (key) DO NOTHING;
        SELECT value INTO held_value FROM guards WHERE key = p_key FOR UPDATE;
    END IF;
    IF (p_expect IS NOT NULL AND held_value <> p_expect)
       OR (p_minimum IS NOT NULL AND held_value + p_delta < p_minimum)
       OR (p_maximum IS NOT NULL AND held_value + p_delta > p_maximum) THEN
        RAISE EXCEPTION 'guard % moved', p_key USING ERRCODE = 'BF003';
    END IF;
END $$;

-- p is one JSON object with everything but the facts; the facts come as arrays, their bytes untouched.
-- The functions that it calls do without a search_path of their own: they have this one's.
CREATE FUNCTION write_facts(
    p jsonb,
    p_streams text[], p_versions integer[], p_ids text[], p_types text[], p_subjects text[],
    p_envelopes text[], p_datas text[], p_hashes text[], p_traceparents text[],
    p_for_office boolean DEFAULT false
) RETURNS bigint LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    item record;
    changed integer;
    moved integer;
    last_position bigint;
BEGIN
    IF p ? 'guards' THEN
        FOR item IN
            SELECT * FROM jsonb_to_recordset(p->'guards')
                AS g(key text, delta bigint, expect bigint, minimum bigint, maximum bigint) ORDER BY key COLLATE "C"
        LOOP
            PERFORM change_guard(item.key, item.delta, item.expect, item.minimum, item.maximum);
        END LOOP;
    END IF;
    IF p ? 'watermarks' THEN
        changed := 0;
        moved := 0;
        IF p @? '$.watermarks[*].was ? (@ == 0)' THEN
            INSERT INTO watermarks (stream, version)
                SELECT w.stream, w.version
                FROM jsonb_to_recordset(p->'watermarks') AS w(stream text, was integer, version integer)
                WHERE w.was = 0 ORDER BY w.stream COLLATE "C";
            GET DIAGNOSTICS changed = ROW_COUNT;
        END IF;
        IF changed < jsonb_array_length(p->'watermarks') THEN
            -- Sorted, so that two who hear the same seldom wait in a circle; if they do, one is told
            -- (40P01) and hears again. To lock each row before its change would cost as much again.
            UPDATE watermarks m SET version = w.version
                FROM (SELECT n.stream, n.was, n.version
                      FROM jsonb_to_recordset(p->'watermarks') AS n(stream text, was integer, version integer)
                      ORDER BY n.stream COLLATE "C") w
                WHERE m.stream = w.stream AND m.version = w.was;
            GET DIAGNOSTICS moved = ROW_COUNT;
        END IF;
        IF changed + moved <> jsonb_array_length(p->'watermarks') THEN
            RAISE EXCEPTION 'a watermark moved' USING ERRCODE = 'BF004';
        END IF;
    END IF;
    IF p ?| ARRAY['reference', 'scopes'] THEN
        PERFORM write_scopes(p);  -- 0004_scopes
    END IF;
    IF p ? 'view_streams' THEN
        DELETE FROM views v USING jsonb_array_elements_text(p->'view_streams') AS s(stream)
            WHERE v.stream = s.stream
              AND NOT EXISTS (SELECT 1 FROM jsonb_to_recordset(p->'views') AS n(model text, key text)
                              WHERE n.model = v.model AND n.key = v.key);
    END IF;
    IF p ? 'views_gone' THEN
        DELETE FROM views v USING jsonb_to_recordset(p->'views_gone') AS g(stream text, model text, key text)
            WHERE v.model = g.model AND v.key = g.key AND v.stream = g.stream;
    END IF;
    IF p ? 'views' THEN
        INSERT INTO views (model, key, stream, subject, organisation, role, status, due_on, document)
            SELECT model, key, stream, subject, organisation, role, status, due_on, document
            FROM jsonb_to_recordset(p->'views') AS n(model text, key text, stream text, subject text,
                 organisation text, role text, status text, due_on date, document text)
            ORDER BY stream COLLATE "C", model COLLATE "C", key COLLATE "C"
            ON CONFLICT (model, key) DO UPDATE SET organisation = excluded.organisation, role = excluded.role,
                status = excluded.status, due_on = excluded.due_on, document = excluded.document
            WHERE views.stream = excluded.stream;  -- a row of another stream is never this one's to change
        GET DIAGNOSTICS changed = ROW_COUNT;
        IF p_for_office AND changed <> jsonb_array_length(p->'views') THEN
            RAISE EXCEPTION 'beyond its streams' USING ERRCODE = 'BF005';
        END IF;
    END IF;
    IF p ? 'own' THEN
        PERFORM own_rows(p->'own');
    END IF;
    IF p ? 'command' THEN
        INSERT INTO commands (key, body_mac, stream, first_version, last_version, fact_ids)
            SELECT key, body_mac, stream, first_version, last_version, fact_ids
            FROM jsonb_to_record(p->'command') AS c(key text, body_mac text, stream text,
                 first_version integer, last_version integer, fact_ids text);
    END IF;
    IF p ? 'unheld' THEN
        DELETE FROM held WHERE held_id IN (SELECT h::bigint FROM jsonb_array_elements_text(p->'unheld') AS u(h));
        GET DIAGNOSTICS changed = ROW_COUNT;
        IF changed <> jsonb_array_length(p->'unheld') THEN
            RAISE EXCEPTION 'a held record was taken by another' USING ERRCODE = 'BF004';
        END IF;
    END IF;
    IF p ? 'reheld' THEN
        UPDATE held h SET reason = r.reason, waits_for = r.waits_for, released = false
            FROM jsonb_to_recordset(p->'reheld') AS r(held_id bigint, reason text, waits_for text)
            WHERE h.held_id = r.held_id;
    END IF;
    IF p ? 'held' THEN
        INSERT INTO held (key, topic, partition, record_offset, generation, headers, value, reason, waits_for)
            SELECT key, topic, partition, record_offset, generation, decode(headers, 'base64'),
                   decode(value, 'base64'), reason, waits_for
            FROM ROWS FROM (jsonb_to_recordset(p->'held') AS (key text, topic text, partition integer,
                 record_offset bigint, generation text, headers text, value text, reason text, waits_for text))
                WITH ORDINALITY AS h(key, topic, partition, record_offset, generation, headers, value, reason,
                                     waits_for, ord)
            ORDER BY ord
            ON CONFLICT (topic, partition, record_offset, generation) DO NOTHING;  -- delivered twice, held once
    END IF;
    IF p ? 'offsets' THEN
        INSERT INTO offsets (topic, partition, generation, next_offset)
            SELECT topic, partition, generation, next_offset
            FROM jsonb_to_recordset(p->'offsets') AS o(topic text, partition integer, generation text, next_offset bigint)
            ORDER BY topic COLLATE "C", partition
            ON CONFLICT (topic, partition) DO UPDATE
                SET next_offset = CASE WHEN offsets.generation = excluded.generation
                                       THEN greatest(offsets.next_offset, excluded.next_offset)
                                       ELSE excluded.next_offset END,
                    generation = excluded.generation;
    END IF;
    IF cardinality(p_streams) = 0 THEN
        RETURN 0;
    END IF;
    -- Each fact stands on the one before it, which is stored or comes in this write; where it is
    -- neither, one row less is inserted.
    IF cardinality(p_streams) = 1 THEN
        INSERT INTO facts (stream, version, fact_id, type, subject, envelope, data, hash, traceparent)
            SELECT p_streams[1], p_versions[1], p_ids[1], p_types[1], p_subjects[1],
                   p_envelopes[1], p_datas[1], p_hashes[1], p_traceparents[1]
            WHERE p_versions[1] = 1
               OR EXISTS (SELECT 1 FROM facts f WHERE f.stream = p_streams[1] AND f.version = p_versions[1] - 1);
    ELSE
        INSERT INTO facts (stream, version, fact_id, type, subject, envelope, data, hash, traceparent)
            SELECT n.stream, n.version, n.fact_id, n.type, n.subject, n.envelope, n.data, n.hash, n.traceparent
            FROM (SELECT u.*, lag(u.version) OVER (PARTITION BY u.stream COLLATE "C" ORDER BY u.version) AS before
                  FROM unnest(p_streams, p_versions, p_ids, p_types, p_subjects, p_envelopes, p_datas, p_hashes,
                              p_traceparents)
                      AS u(stream, version, fact_id, type, subject, envelope, data, hash, traceparent)) AS n
            WHERE n.version = 1 OR n.before = n.version - 1
               -- A value, not EXISTS: planned while the log is small, EXISTS would hash the whole of it.
               OR (SELECT f.version FROM facts f WHERE f.stream = n.stream AND f.version = n.version - 1) IS NOT NULL
            ORDER BY n.stream COLLATE "C", n.version;
    END IF;
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed <> cardinality(p_streams) THEN
        RAISE EXCEPTION 'a version before it is absent' USING ERRCODE = 'BF002';
    END IF;
    RETURN lastval();
END $$;
