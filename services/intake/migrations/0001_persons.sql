-- Who an ID number belongs to. The HMAC is keyed and stands in no fact, so that erasing a row
-- (and the person's keys) leaves nothing to look up; the household is that of the last file.
-- depends: log/0003_api

CREATE TABLE persons (
    mac          text PRIMARY KEY CHECK (mac ~ '^[0-9a-f]{64}$'),
    person_id    text NOT NULL UNIQUE,
    household_id text,
    first_seen   timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Insert or get, for several at once and always in one order; durable before the command that
-- names these persons, which may be repeated after a crash with the ids that it was given. A person
-- whom the command then does not name is only a row here. An applicant comes with a household, which
-- is theirs if they have none; acceptance moves it (own_rows).
CREATE FUNCTION known_persons(p_macs text[], p_persons text[], p_households text[])
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

-- Writers of the same persons meet at their open_file guard rows first; those who look them up do
-- not. So whoever changes several rows locks them in the order of their hashes: in the order in which
-- they were named, an acceptance and a list's look-ups waited for each other in a circle.
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

GRANT EXECUTE ON FUNCTION known_persons(text[], text[], text[]) TO ${api};
