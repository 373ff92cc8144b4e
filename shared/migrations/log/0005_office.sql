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

-- False if the write touches what other streams have. The rows are few: one command's. Whether a read
-- model's row is there already and another stream's shows when it is written (0002_write).
CREATE FUNCTION is_held_to_streams(p jsonb, p_streams text[], p_subjects text[], p_ids text[]) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
DECLARE streams jsonb := to_jsonb(p_streams);
BEGIN
    IF p ? 'view_streams' AND NOT streams @> (p->'view_streams')
       OR p ? 'views_gone' AND NOT streams @> jsonb_path_query_array(p, '$.views_gone[*].stream')
       OR p ? 'command' AND NOT streams @> jsonb_path_query_array(p, '$.command.stream')
       OR p ? 'scopes' AND NOT to_jsonb(p_subjects) @> jsonb_path_query_array(p, '$.scopes[*].subject')
       OR p ? 'reference' AND NOT (
           to_jsonb(office_references()) @> jsonb_path_query_array(p, '$.reference[*].kind')
           AND to_jsonb(p_ids) @> jsonb_path_query_array(p, '$.reference[*].key'))
       -- The network alone has facts of its own that move the tree.
       OR p ? 'rescopes' AND NOT 'network' = ANY (office_references()) THEN
        RETURN false;
    END IF;
    IF p ? 'own' AND office_own(p->'own', p_ids) IS NOT TRUE THEN
        RETURN false;
    END IF;
    RETURN NOT p ? 'views' OR NOT EXISTS (
        SELECT FROM jsonb_array_elements(p->'views') AS n(item)
        WHERE NOT EXISTS (SELECT FROM unnest(p_streams, p_subjects) AS f(stream, subject)
                          WHERE f.stream = n.item->>'stream' AND f.subject = n.item->>'subject'));
END $$;
