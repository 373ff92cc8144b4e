-- The keys of personal data, in a database of their own. Who may do what stands in one table,
-- key_grants; nobody but the functions below touches a key, and each look is recorded.
-- The runner promises the rest: functions are nobody's until granted, and search_path, which they
-- keep, ends in pg_temp, so that no role's temporary table is taken for one of ours.

CREATE TABLE IF NOT EXISTS personal_keys (
    key_id     text PRIMARY KEY,
    person_id  text NOT NULL CHECK (person_id <> ''),
    category   text NOT NULL CHECK (category IN ('identity', 'account', 'health', 'free_text')),
    wrapped    bytea,                       -- NULL once destroyed
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (key_id LIKE replace(category, '_', '\_') || '-%'),
    UNIQUE (person_id, category)
);

-- A tombstone also refuses keys of categories that the person never had.
CREATE TABLE IF NOT EXISTS erased_persons (
    person_id text PRIMARY KEY,
    actor     text NOT NULL,
    service   text NOT NULL,
    erased_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE IF NOT EXISTS key_accesses (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    key_id  text NOT NULL,
    service text NOT NULL,
    actor   text NOT NULL CHECK (actor <> ''),
    purpose text NOT NULL CHECK (purpose <> ''),
    outcome text NOT NULL CHECK (outcome IN ('opened', 'sealed', 'refused', 'destroyed', 'unknown'))
);
CREATE INDEX IF NOT EXISTS key_accesses_by_key ON key_accesses (key_id, at);

CREATE TABLE IF NOT EXISTS key_grants (
    service  text NOT NULL,
    category text NOT NULL CHECK (category IN ('identity', 'account', 'health', 'free_text')),
    may_open boolean NOT NULL,
    may_seal boolean NOT NULL,
    PRIMARY KEY (service, category)
);
-- To seal is to hold the key, so what a service may seal but not open it could open all the same
-- while it runs; the record then says 'sealed', and the functions give it no key for a look.
INSERT INTO key_grants (service, category, may_open, may_seal) VALUES
    ('intake',      'identity',  true,  true),
    ('intake',      'account',   true,  true),
    ('intake',      'health',    true,  true),
    ('intake',      'free_text', true,  true),
    ('eligibility', 'identity',  true,  false),
    ('eligibility', 'free_text', true,  true),
    ('notice',      'identity',  true,  false),
    ('notice',      'free_text', true,  true),
    ('payout',      'identity',  true,  false),
    ('payout',      'account',   true,  true),
    ('training',    'identity',  true,  true)
ON CONFLICT DO NOTHING;

-- Erasure belongs to the service that keeps the household's file.
CREATE TABLE IF NOT EXISTS erasure_grants (service text PRIMARY KEY);
INSERT INTO erasure_grants VALUES ('intake') ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS service_roles (
    role    text PRIMARY KEY,
    service text NOT NULL
);

-- One row: a keyed hash by which a process sees that its master key is the one in use here.
CREATE TABLE IF NOT EXISTS master_key (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    fingerprint text NOT NULL
);

-- Which service asks. session_user, since SECURITY DEFINER changes current_user.
CREATE OR REPLACE FUNCTION asking_service() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    found_service text;
BEGIN
    SELECT r.service INTO found_service FROM service_roles r WHERE r.role = session_user;
    IF found_service IS NULL THEN
        RAISE EXCEPTION 'role % belongs to no service', session_user
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN found_service;
END $$;

-- Says the first fingerprint heard, or the one it is to be compared with.
CREATE OR REPLACE FUNCTION master_key_fingerprint(mine text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM asking_service();
    INSERT INTO master_key (fingerprint) VALUES (mine) ON CONFLICT DO NOTHING;
    RETURN (SELECT m.fingerprint FROM master_key m);
END $$;

-- Takes a proposed key for each pair and answers the key that holds: the proposal, or an earlier
-- one. A pair of an erased person has none (wrapped is NULL). All or nothing on a missing grant.
CREATE OR REPLACE FUNCTION ensure_keys(
    persons text[], categories text[], proposed_ids text[], proposed_keys bytea[]
) RETURNS TABLE (person_id text, category text, key_id text, wrapped bytea)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    asking text := asking_service();
    missing text;
BEGIN
    SELECT string_agg(DISTINCT c, ', ') INTO missing FROM unnest(categories) AS c
    WHERE NOT EXISTS (
        SELECT FROM key_grants g WHERE g.service = asking AND g.category = c AND g.may_seal);
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION '% may not seal %', asking, missing
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- Shared with other sealers, exclusive with an erasure: no key is made behind its back. Sorted,
    -- so that two calls with the same persons never wait for each other in a circle.
    PERFORM pg_advisory_xact_lock_shared(lock_key) FROM (
        SELECT DISTINCT hashtextextended('bangfu person ' || n.p, 0) AS lock_key
        FROM unnest(persons, categories) AS n (p, c)
        WHERE NOT EXISTS (
            SELECT FROM personal_keys k WHERE k.person_id = n.p AND k.category = n.c)
        ORDER BY lock_key
    ) AS locks;
    INSERT INTO personal_keys (key_id, person_id, category, wrapped, created_by)
    SELECT n.new_id, n.p, n.c, n.new_key, asking
    FROM unnest(persons, categories, proposed_ids, proposed_keys) AS n (p, c, new_id, new_key)
    WHERE NOT EXISTS (SELECT FROM personal_keys k WHERE k.person_id = n.p AND k.category = n.c)
      AND NOT EXISTS (SELECT FROM erased_persons e WHERE e.person_id = n.p)
    ORDER BY n.p, n.c
    ON CONFLICT DO NOTHING;
    RETURN QUERY
    WITH asked AS (
        SELECT DISTINCT n.p, n.c FROM unnest(persons, categories) AS n (p, c)
    ), held AS (
        SELECT a.p, a.c, k.key_id, k.wrapped
        FROM asked a LEFT JOIN personal_keys k ON k.person_id = a.p AND k.category = a.c
    ), recorded AS (
        INSERT INTO key_accesses (key_id, service, actor, purpose, outcome)
        SELECT h.key_id, asking, 'service:' || asking, 'seal', 'sealed'
        FROM held h WHERE h.wrapped IS NOT NULL
    )
    SELECT h.p, h.c, h.key_id, h.wrapped FROM held h;
END $$;

-- Keys for a look at sealed values. Every key asked for is recorded, also one that is refused:
-- therefore a refusal is an answer here, since an error would undo its own record.
CREATE OR REPLACE FUNCTION open_keys(key_ids text[], actor text, purpose text)
RETURNS TABLE (key_id text, person_id text, category text, wrapped bytea, outcome text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    asking text := asking_service();
BEGIN
    RETURN QUERY
    WITH asked AS (
        SELECT DISTINCT i AS key_id FROM unnest(key_ids) AS i
    ), judged AS (
        SELECT a.key_id, k.person_id, k.category, k.wrapped,
               CASE WHEN k.key_id IS NULL THEN 'unknown'
                    WHEN g.may_open IS NOT TRUE THEN 'refused'
                    WHEN k.wrapped IS NULL THEN 'destroyed'
                    ELSE 'opened' END AS outcome
        FROM asked a
        LEFT JOIN personal_keys k ON k.key_id = a.key_id
        LEFT JOIN key_grants g ON g.service = asking AND g.category = k.category
    ), recorded AS (
        INSERT INTO key_accesses (key_id, service, actor, purpose, outcome)
        SELECT j.key_id, asking, open_keys.actor, open_keys.purpose, j.outcome FROM judged j
    )
    SELECT j.key_id, j.person_id, j.category,
           CASE WHEN j.outcome = 'opened' THEN j.wrapped END, j.outcome
    FROM judged j;
END $$;

-- Destroys all keys of a person for good and answers how many there were. A repeat answers 0.
CREATE OR REPLACE FUNCTION destroy_keys(person text, actor text) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    asking text := asking_service();
    destroyed integer;
BEGIN
    IF NOT EXISTS (SELECT FROM erasure_grants g WHERE g.service = asking) THEN
        RAISE EXCEPTION '% may not erase', asking USING ERRCODE = 'insufficient_privilege';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('bangfu person ' || person, 0));
    INSERT INTO erased_persons (person_id, actor, service)
    VALUES (person, destroy_keys.actor, asking) ON CONFLICT DO NOTHING;
    WITH gone AS (
        UPDATE personal_keys k SET wrapped = NULL
        WHERE k.person_id = person AND k.wrapped IS NOT NULL
        RETURNING k.key_id
    ), recorded AS (
        INSERT INTO key_accesses (key_id, service, actor, purpose, outcome)
        SELECT gone.key_id, asking, destroy_keys.actor, 'erasure', 'destroyed' FROM gone
    )
    SELECT count(*) INTO destroyed FROM gone;
    RETURN destroyed;
END $$;

-- Ties a login role to its service; the runner of migrations calls it, nobody else may. Functions of
-- later steps are named here, too, once for all: it grants those that are there. Those that erase ask
-- for the right to do so themselves.
CREATE OR REPLACE FUNCTION grant_service(service text, role name) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
    granted regprocedure;
BEGIN
    INSERT INTO service_roles AS r (role, service) VALUES (grant_service.role, grant_service.service)
    ON CONFLICT ON CONSTRAINT service_roles_pkey DO UPDATE SET service = excluded.service;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), role);
    FOR granted IN
        SELECT p.oid FROM pg_proc p
        WHERE p.pronamespace = current_schema()::regnamespace AND p.proname IN (
            'master_key_fingerprint', 'ensure_keys', 'open_keys', 'open_keys_of_looks',
            'destroy_keys', 'list_erasures', 'replay_erasures', 'applied_migrations')
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', granted, role);
    END LOOP;
END $$;
