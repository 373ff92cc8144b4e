-- What an office's write may carry beside its facts: only what belongs to the streams of those facts.
-- A service whose offices need more says so by replacing one of the first three.
-- depends: 0004_scopes

-- Read models whose documents may be read by key, whoever asks: what a decision needs of other
-- holders (an order, a class). Everything else goes through row-level security.
CREATE FUNCTION office_documents() RETURNS text[] LANGUAGE sql IMMUTABLE AS $$ SELECT '{}'::text[] $$;

-- Kinds of reference rows that follow from this service's own facts.
CREATE FUNCTION office_references() RETURNS text[] LANGUAGE sql IMMUTABLE AS $$ SELECT '{}'::text[] $$;

-- Whether these rows of the service's own tables may come with these facts.
CREATE FUNCTION office_own(rows jsonb, p_ids text[]) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT true $$;

-- Raises if the write touches what other streams have. The rows are few: one command's.
CREATE FUNCTION hold_to_streams(p jsonb, p_streams text[], p_subjects text[], p_ids text[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM jsonb_array_elements_text(p->'view_streams') AS s(stream)
               WHERE (s.stream = ANY (p_streams)) IS NOT TRUE)
       OR EXISTS (SELECT FROM jsonb_array_elements(p->'views_gone') AS g(item)
                  WHERE (g.item->>'stream' = ANY (p_streams)) IS NOT TRUE)
       OR EXISTS (SELECT FROM jsonb_to_recordset(p->'views') AS n(model text, key text, stream text, subject text)
                  WHERE NOT EXISTS (SELECT FROM unnest(p_streams, p_subjects) AS f(stream, subject)
                                    WHERE f.stream = n.stream AND f.subject = n.subject)
                     OR EXISTS (SELECT FROM views v WHERE v.model = n.model AND v.key = n.key
                                AND v.stream <> n.stream))
       OR EXISTS (SELECT FROM jsonb_array_elements(p->'scopes') AS s(item)
                  WHERE (s.item->>'subject' = ANY (p_subjects)) IS NOT TRUE)
       OR EXISTS (SELECT FROM jsonb_array_elements(p->'reference') AS r(item)
                  WHERE (r.item->>'kind' = ANY (office_references())) IS NOT TRUE
                     OR (r.item->>'key' = ANY (p_ids)) IS NOT TRUE)
       OR (p ? 'command' AND (p->'command'->>'stream' = ANY (p_streams)) IS NOT TRUE)
       -- The network alone has facts of its own that move the tree.
       OR (p ? 'rescopes' AND ('network' = ANY (office_references())) IS NOT TRUE)
       OR (p ? 'own' AND office_own(p->'own', p_ids) IS NOT TRUE)
    THEN
        RAISE EXCEPTION 'beyond its streams' USING ERRCODE = 'BF005';
    END IF;
END $$;
