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
-- whom the command then does not name is only a row here.
CREATE FUNCTION persons_for(p_macs text[], p_candidates text[])
RETURNS TABLE (mac text, person_id text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO persons AS p (mac, person_id)
        SELECT n.mac, n.candidate FROM unnest(p_macs, p_candidates) AS n(mac, candidate)
        ORDER BY n.mac COLLATE "C"
        ON CONFLICT ON CONSTRAINT persons_pkey DO NOTHING;
    RETURN QUERY SELECT p.mac, p.person_id FROM persons p WHERE p.mac = ANY (p_macs);
END $$;

-- The applicant's household, set on first sight; acceptance moves it (own_rows).
CREATE FUNCTION household_for(p_person_id text, p_candidate text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE found_household text;
BEGIN
    SELECT p.household_id INTO found_household FROM persons p WHERE p.person_id = p_person_id;
    IF found_household IS NULL THEN
        UPDATE persons p SET household_id = coalesce(p.household_id, p_candidate)
            WHERE p.person_id = p_person_id
            RETURNING p.household_id INTO found_household;
    END IF;
    RETURN found_household;
END $$;

-- Writers of the same persons meet at their open_file guard rows first, so they can't deadlock.
CREATE OR REPLACE FUNCTION own_rows(rows jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE persons p SET household_id = r.household_id
        FROM jsonb_to_recordset(rows) AS r(person_id text, household_id text)
        WHERE p.person_id = r.person_id AND p.household_id IS DISTINCT FROM r.household_id;
END $$;

GRANT EXECUTE ON FUNCTION persons_for(text[], text[]), household_for(text, text) TO ${api};
