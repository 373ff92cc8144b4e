-- What the api role may do: it has no right on facts, only these functions, which check scope once.
-- depends: 0002_write

-- True if one of the organisations holds the subject or stands above its holder today. Not in sql,
-- which would be planned anew in every transaction; called where the search_path is kept already.
CREATE FUNCTION in_scope(p_subject text, p_organisations text[]) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT FROM case_scope c
                   WHERE c.subject = p_subject AND c.to_day IS NULL AND c.organisation = ANY (p_organisations));
END $$;

CREATE FUNCTION api_load(p_stream text, p_from integer, p_organisations text[])
RETURNS TABLE (envelope text, data text, hash text, traceparent text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE found_subject text;
BEGIN
    SELECT f.subject INTO found_subject FROM facts f WHERE f.stream = p_stream AND f.version = 1;
    IF found_subject IS NOT NULL AND NOT in_scope(found_subject, p_organisations) THEN
        RAISE EXCEPTION 'out of scope' USING ERRCODE = 'BF005';
    END IF;
    RETURN QUERY SELECT f.envelope, f.data, f.hash, f.traceparent FROM facts f
        WHERE f.stream = p_stream AND f.version >= p_from ORDER BY f.version;
    PERFORM flushed();  -- a statement here sees more than the one before it, so it comes last
END $$;

CREATE FUNCTION api_write(
    p_organisations text[], p jsonb,
    p_streams text[], p_versions integer[], p_ids text[], p_types text[], p_subjects text[],
    p_envelopes text[], p_datas text[], p_hashes text[], p_traceparents text[]
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    -- What is heard and held is the worker's alone, and nothing is written but with a fact.
    IF cardinality(p_streams) = 0 OR p ?| ARRAY['watermarks', 'offsets', 'held', 'unheld', 'reheld'] THEN
        RAISE EXCEPTION 'not for an office' USING ERRCODE = 'BF005';
    END IF;
    -- A subject without facts is being born by this write; every other one must be in scope, also
    -- the one that a stream has had from its birth, whatever the write says of it. Both are asked as
    -- values: for EXISTS the planner might read a whole table that was small when it planned.
    IF EXISTS (
        SELECT FROM unnest(p_streams, p_subjects) AS u(stream, subject)
        CROSS JOIN LATERAL (VALUES
            (u.subject), ((SELECT f.subject FROM facts f WHERE f.stream = u.stream AND f.version = 1))
        ) AS s(subject)
        WHERE (SELECT true FROM case_scope c WHERE c.subject = s.subject AND c.to_day IS NULL
               AND c.organisation = ANY (p_organisations) LIMIT 1) IS NULL
          AND (SELECT true FROM facts f WHERE f.subject = s.subject LIMIT 1)
    ) THEN
        RAISE EXCEPTION 'out of scope' USING ERRCODE = 'BF005';
    END IF;
    IF NOT is_held_to_streams(p, p_streams, p_subjects, p_ids) THEN  -- 0005_office
        RAISE EXCEPTION 'beyond its streams' USING ERRCODE = 'BF005';
    END IF;
    RETURN write_facts(p, p_streams, p_versions, p_ids, p_types, p_subjects,
                       p_envelopes, p_datas, p_hashes, p_traceparents, true);
END $$;

CREATE FUNCTION api_command(p_key text)
RETURNS TABLE (body_mac text, stream text, first_version integer, last_version integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    RETURN QUERY SELECT c.body_mac, c.stream, c.first_version, c.last_version
        FROM commands c WHERE c.key = p_key;
    IF FOUND THEN
        PERFORM flushed();  -- its answer is given again
    END IF;
END $$;

-- Documents of this service's own read models, for deciding only, of those that it needs (0005_office).
CREATE FUNCTION api_documents(p_models text[], p_keys text[])
RETURNS TABLE (model text, key text, document text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    -- OFFSET 0: one look by key for each, whatever a planner thinks of a table that is still small.
    RETURN QUERY SELECT n.model, n.key, d.document
        FROM unnest(p_models, p_keys) AS n(model, key)
        CROSS JOIN LATERAL (SELECT v.document FROM views v
                            WHERE v.model = n.model AND v.key = n.key OFFSET 0) AS d
        WHERE n.model = ANY (office_documents());
END $$;

CREATE FUNCTION api_deny(p_actor text, p_attempt text, p_subject text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    INSERT INTO denials (actor, attempt, subject) VALUES (p_actor, p_attempt, p_subject)
$$;

ALTER TABLE views ENABLE ROW LEVEL SECURITY;
ALTER TABLE views FORCE ROW LEVEL SECURITY;
CREATE POLICY worker_sees_all ON views TO ${worker} USING (true) WITH CHECK (true);
CREATE POLICY owner_sees_all ON views TO CURRENT_USER USING (true) WITH CHECK (true);
-- The setting carries only the person's own organisations; it is set by a statement of its own.
-- EXISTS, not IN: for the city IN would gather every case of the city, once for each look.
CREATE POLICY office_sees_subtree ON views FOR SELECT TO ${api} USING (
    EXISTS (SELECT 1 FROM case_scope s
            WHERE s.subject = views.subject AND s.to_day IS NULL AND s.organisation = ANY (
                string_to_array(NULLIF(current_setting('app.organisations', true), ''), ','))));

GRANT SELECT ON views, case_scope, guards, reference TO ${api};
GRANT EXECUTE ON FUNCTION
    api_load(text, integer, text[]),
    api_write(text[], jsonb, text[], integer[], text[], text[], text[], text[], text[], text[], text[]),
    api_command(text), api_documents(text[], text[]), api_deny(text, text, text) TO ${api};
