-- Many looks in one call, each with its own actor and purpose: what a bank asks for two hundred
-- payments is two hundred looks. open_keys stays for builds that ask for one look at a time.
-- depends: 0002_erasures

-- As open_keys for each look by its number; the arrays say one key of a look at each place.
CREATE FUNCTION open_keys_of_looks(looks integer[], key_ids text[], actors text[], purposes text[])
RETURNS TABLE (look integer, key_id text, person_id text, category text, wrapped bytea, outcome text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    asking text := asking_service();
BEGIN
    RETURN QUERY
    WITH asked AS (
        SELECT DISTINCT n.look, n.key_id, n.actor, n.purpose
        FROM unnest(looks, key_ids, actors, purposes) AS n (look, key_id, actor, purpose)
    ), judged AS (
        SELECT a.look, a.key_id, a.actor, a.purpose, k.person_id, k.category, k.wrapped,
               CASE WHEN k.key_id IS NULL THEN 'unknown'
                    WHEN g.may_open IS NOT TRUE THEN 'refused'
                    WHEN k.wrapped IS NULL THEN 'destroyed'
                    ELSE 'opened' END AS outcome
        FROM asked a
        LEFT JOIN personal_keys k ON k.key_id = a.key_id
        LEFT JOIN key_grants g ON g.service = asking AND g.category = k.category
    ), recorded AS (
        INSERT INTO key_accesses (key_id, service, actor, purpose, outcome)
        SELECT j.key_id, asking, j.actor, j.purpose, j.outcome FROM judged j
    )
    SELECT j.look, j.key_id, j.person_id, j.category,
           CASE WHEN j.outcome = 'opened' THEN j.wrapped END, j.outcome
    FROM judged j;
END $$;

-- One look, as it was: the same judgement serves both.
CREATE OR REPLACE FUNCTION open_keys(key_ids text[], actor text, purpose text)
RETURNS TABLE (key_id text, person_id text, category text, wrapped bytea, outcome text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    places integer[] := ARRAY[cardinality(key_ids)];
BEGIN
    RETURN QUERY SELECT o.key_id, o.person_id, o.category, o.wrapped, o.outcome
        FROM open_keys_of_looks(array_fill(1, places), key_ids, array_fill(open_keys.actor, places),
                                array_fill(open_keys.purpose, places)) AS o;
END $$;
