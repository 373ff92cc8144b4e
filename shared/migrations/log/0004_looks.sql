-- The two looks that most commands begin with, the first for several commands in one round trip.
-- They run with the rights of the caller, so row-level security decides what is seen; the setting
-- ends with the statement.
-- depends: 0003_api

CREATE FUNCTION api_views(p_organisations text, p_model text, p_keys text[])
RETURNS TABLE (key text, document text)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM set_config('app.organisations', p_organisations, true);
    -- OFFSET 0: one look by key for each, as in api_documents.
    RETURN QUERY SELECT n.key, d.document FROM (SELECT DISTINCT k FROM unnest(p_keys) AS k) AS n(key)
        CROSS JOIN LATERAL (SELECT v.document FROM views v
                            WHERE v.model = p_model AND v.key = n.key OFFSET 0) AS d;
END $$;

-- What the offices of these organisations have to do, by key.
CREATE FUNCTION api_work(p_organisations text[], p_roles text[], p_after text, p_limit integer)
RETURNS TABLE (key text, status text, subject text, stream text, organisation text, role text,
               due_on date, document text)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM set_config('app.organisations', array_to_string(p_organisations, ','), true);
    -- The first of each office, then of all: no more is read than a page for each.
    RETURN QUERY
        SELECT w.* FROM (SELECT DISTINCT o FROM unnest(p_organisations) AS o) AS o(organisation)
        CROSS JOIN (SELECT DISTINCT r FROM unnest(p_roles) AS r) AS r(role)
        CROSS JOIN LATERAL (
            SELECT v.key, v.status, v.subject, v.stream, v.organisation, v.role, v.due_on, v.document
            FROM views v
            WHERE v.model = 'work' AND v.organisation = o.organisation AND v.role = r.role AND v.key > p_after
            ORDER BY v.key LIMIT p_limit) AS w
        ORDER BY w.key LIMIT p_limit;
END $$;

GRANT EXECUTE ON FUNCTION
    api_views(text, text, text[]), api_work(text[], text[], text, integer) TO ${api};
