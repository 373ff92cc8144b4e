-- The register of erasures, kept outside as well: a restore of these keys brings back keys that were
-- destroyed since, and the register destroys them again.
-- depends: 0001_keys

CREATE FUNCTION may_erase() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    asking text := asking_service();
BEGIN
    IF NOT EXISTS (SELECT FROM erasure_grants g WHERE g.service = asking) THEN
        RAISE EXCEPTION '% may not erase', asking USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN asking;
END $$;

CREATE FUNCTION list_erasures()
RETURNS TABLE (person_id text, actor text, service text, erased_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_column
BEGIN
    PERFORM may_erase();
    RETURN QUERY SELECT e.person_id, e.actor, e.service, e.erased_at FROM erased_persons e
        ORDER BY e.erased_at, e.person_id;
END $$;

-- Erases again, under the name and time of the first erasure; answers who was not erased here, and
-- how many keys of each were destroyed now. What is erased already stays as it is.
CREATE FUNCTION replay_erasures(
    persons text[], actors text[], services text[], moments timestamptz[]
) RETURNS TABLE (person_id text, destroyed integer)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    asking text := may_erase();
BEGIN
    -- As destroy_keys: no key is made behind its back; sorted, so that nobody waits in a circle.
    PERFORM pg_advisory_xact_lock(lock_key) FROM (
        SELECT DISTINCT hashtextextended('bangfu person ' || p, 0) AS lock_key
        FROM unnest(persons) AS p ORDER BY lock_key) AS locks;
    RETURN QUERY
    WITH told AS (
        SELECT DISTINCT ON (t.p) t.p, t.a, t.s, t.m
        FROM unnest(persons, actors, services, moments) AS t (p, a, s, m) ORDER BY t.p, t.m
    ), marked AS (
        INSERT INTO erased_persons (person_id, actor, service, erased_at)
        SELECT t.p, t.a, t.s, t.m FROM told t ON CONFLICT DO NOTHING RETURNING person_id
    ), gone AS (
        UPDATE personal_keys k SET wrapped = NULL FROM told t
        WHERE k.person_id = t.p AND k.wrapped IS NOT NULL
        RETURNING k.key_id, k.person_id, t.a
    ), recorded AS (
        INSERT INTO key_accesses (key_id, service, actor, purpose, outcome)
        SELECT gone.key_id, asking, gone.a, 'erasure replayed', 'destroyed' FROM gone
    )
    SELECT t.p, (SELECT count(*)::integer FROM gone g WHERE g.person_id = t.p) FROM told t
    WHERE EXISTS (SELECT FROM marked m WHERE m.person_id = t.p)
       OR EXISTS (SELECT FROM gone g WHERE g.person_id = t.p);
END $$;
