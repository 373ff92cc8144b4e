-- What the api role may do: it has no right on facts, only these functions, which check scope once.
-- depends: 0002_write

-- True if one of the organisations holds the subject or stands above its holder today.
CREATE FUNCTION in_scope(p_subject text, p_organisations text[]) RETURNS boolean
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT EXISTS (SELECT 1 FROM case_scope
                   WHERE subject = p_subject AND to_day IS NULL AND organisation = ANY (p_organisations))
$$;

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
END $$;

CREATE FUNCTION api_write(
    p_organisations text[], p jsonb,
    p_streams text[], p_versions integer[], p_ids text[], p_types text[], p_subjects text[],
    p_envelopes text[], p_datas text[], p_hashes text[], p_traceparents text[]
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE one record;
BEGIN
    -- What is heard and held is the worker's alone, and nothing is written but with a fact.
    IF cardinality(p_streams) = 0 OR p ?| ARRAY['watermarks', 'offsets', 'held', 'unheld', 'reheld'] THEN
        RAISE EXCEPTION 'not for an office' USING ERRCODE = 'BF005';
    END IF;
    -- A subject without facts is being born by this write; every other one must be in scope, also
    -- the one that a stream has had from its birth, whatever the write says of it.
    FOR one IN
        SELECT u.subject FROM unnest(p_subjects) AS u(subject)
        UNION
        SELECT (SELECT f.subject FROM facts f WHERE f.stream = u.stream AND f.version = 1)
            FROM unnest(p_streams) AS u(stream)
    LOOP
        IF NOT in_scope(one.subject, p_organisations)
           AND EXISTS (SELECT 1 FROM facts f WHERE f.subject = one.subject) THEN
            RAISE EXCEPTION 'out of scope' USING ERRCODE = 'BF005';
        END IF;
    END LOOP;
    PERFORM hold_to_streams(p, p_streams, p_subjects, p_ids);  -- 0005_office
    RETURN write_facts(p, p_streams, p_versions, p_ids, p_types, p_subjects,
                       p_envelopes, p_datas, p_hashes, p_traceparents);
END $$;

CREATE FUNCTION api_command(p_key text)
RETURNS TABLE (body_mac text, stream text, first_version integer, last_version integer)
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT c.body_mac, c.stream, c.first_version, c.last_version FROM commands c WHERE c.key = p_key
$$;

-- Documents of this service's own read models, for deciding only, of those that it needs (0005_office).
CREATE FUNCTION api_documents(p_models text[], p_keys text[])
RETURNS TABLE (model text, key text, document text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    RETURN QUERY SELECT v.model, v.key, v.document FROM views v
        JOIN unnest(p_models, p_keys) AS n(model, key) ON n.model = v.model AND n.key = v.key
        WHERE v.model = ANY (office_documents());
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
