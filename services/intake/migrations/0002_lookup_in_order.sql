-- Lookup rows are locked in the order of their hashes by whoever changes several of them.
-- Applications that come together are looked up together, and an acceptance moves a whole household:
-- each in the order in which they were named, two such writers waited for each other in a circle.
-- depends: 0001_persons

CREATE OR REPLACE FUNCTION known_persons(p_macs text[], p_persons text[], p_households text[])
RETURNS TABLE (mac text, person_id text, household_id text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO persons AS p (mac, person_id, household_id)
        SELECT n.mac, n.person, n.household
        FROM unnest(p_macs, p_persons, p_households) AS n(mac, person, household)
        ORDER BY n.mac COLLATE "C"
        ON CONFLICT ON CONSTRAINT persons_pkey DO NOTHING;
    UPDATE persons p SET household_id = l.household
        FROM (SELECT q.mac, n.household
              FROM unnest(p_macs, p_households) AS n(mac, household)
              JOIN persons q ON q.mac = n.mac
              WHERE n.household IS NOT NULL AND q.household_id IS NULL
              ORDER BY q.mac COLLATE "C" FOR UPDATE OF q) AS l
        WHERE p.mac = l.mac AND p.household_id IS NULL;
    -- OFFSET 0: one look by key for each, whatever a planner thinks of a table that is still small.
    RETURN QUERY SELECT n.mac, k.person_id, k.household_id FROM unnest(p_macs) AS n(mac)
        CROSS JOIN LATERAL (SELECT p.person_id, p.household_id FROM persons p
                            WHERE p.mac = n.mac OFFSET 0) AS k;
END $$;

-- Writers of the same persons meet at their open_file guard rows first; those who look them up do not.
CREATE OR REPLACE FUNCTION own_rows(rows jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE persons p SET household_id = l.household_id
        FROM (SELECT q.mac, r.household_id
              FROM jsonb_to_recordset(rows) AS r(person_id text, household_id text)
              JOIN persons q ON q.person_id = r.person_id
              WHERE q.household_id IS DISTINCT FROM r.household_id
              ORDER BY q.mac COLLATE "C" FOR UPDATE OF q) AS l
        WHERE p.mac = l.mac;
END $$;
