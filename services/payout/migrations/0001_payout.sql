-- The ledger (double entry), and the outbox of instructions that the bank's topic is filled from.
-- depends: log/0003_api

-- One line of a fact's entry; the lines of a fact and fund sum to zero. They are never changed.
CREATE TABLE postings (
    fact_id     text    NOT NULL,
    fund        text    NOT NULL,
    account     text    NOT NULL
        CHECK (account IN ('source', 'credited', 'reserved', 'committed', 'sent', 'paid')),
    amount_fen  bigint  NOT NULL CHECK (amount_fen <> 0),
    stream      text    NOT NULL,
    version     integer NOT NULL,
    occurred_on date    NOT NULL,
    award_id    text,
    payout_id   text,
    PRIMARY KEY (fact_id, fund, account)
);
CREATE INDEX postings_by_fund ON postings (fund, account) INCLUDE (amount_fen);
CREATE TRIGGER postings_stay BEFORE UPDATE OR DELETE ON postings
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER postings_stay_whole BEFORE TRUNCATE ON postings
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The sums of the postings, moved with them. Only the source, the world outside, may owe.
CREATE TABLE balances (
    fund        text   NOT NULL,
    account     text   NOT NULL,
    balance_fen bigint NOT NULL CHECK (account = 'source' OR balance_fen >= 0),
    PRIMARY KEY (fund, account)
);

CREATE TABLE instructions (
    position    bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
    stream      text    NOT NULL,
    version     integer NOT NULL CHECK (version > 0),
    fact_id     text    NOT NULL,
    type        text    NOT NULL,
    subject     text    NOT NULL,
    envelope    text    NOT NULL,
    data        text    NOT NULL CHECK (octet_length(data) <= 262144),
    hash        text    NOT NULL,
    traceparent text    NOT NULL DEFAULT '',
    stored_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (stream, version)
);
CREATE TRIGGER instructions_stay BEFORE UPDATE OR DELETE ON instructions
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER instructions_stay_whole BEFORE TRUNCATE ON instructions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Enters the postings of one write: zero per fact and fund, and what a fund has available is the
-- same in the ledger as in the guard row, which this write has locked already.
CREATE FUNCTION enter_postings(rows jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    item record;
BEGIN
    INSERT INTO postings (fact_id, fund, account, amount_fen, stream, version, occurred_on, award_id, payout_id)
        SELECT fact_id, fund, account, amount_fen, stream, version, occurred_on, award_id, payout_id
        FROM jsonb_to_recordset(rows) AS r(kind text, fact_id text, fund text, account text,
             amount_fen bigint, stream text, version integer, occurred_on date, award_id text, payout_id text)
        WHERE kind = 'posting';
    FOR item IN
        SELECT fund, account, sum(amount_fen)::bigint AS moved,
               min(fact_id) FILTER (WHERE of_the_fact <> 0) AS unbalanced
        FROM (SELECT r.*, sum(amount_fen) OVER (PARTITION BY fact_id, fund) AS of_the_fact
              FROM jsonb_to_recordset(rows) AS r(kind text, fact_id text, fund text, account text, amount_fen bigint)
              WHERE kind = 'posting') AS r
        GROUP BY fund, account ORDER BY fund COLLATE "C", account COLLATE "C"
    LOOP
        IF item.unbalanced IS NOT NULL THEN
            RAISE EXCEPTION 'the postings of % are not balanced', item.unbalanced USING ERRCODE = 'check_violation';
        END IF;
        LOOP
            UPDATE balances SET balance_fen = balance_fen + item.moved
                WHERE fund = item.fund AND account = item.account
                  AND (account = 'source' OR balance_fen + item.moved >= 0);
            EXIT WHEN FOUND;
            INSERT INTO balances (fund, account, balance_fen) VALUES (item.fund, item.account, 0)
                ON CONFLICT (fund, account) DO NOTHING;
            IF NOT FOUND THEN
                -- Another write has moved this money meanwhile: decide again on a fresh state.
                RAISE EXCEPTION 'account % of % moved', item.account, item.fund USING ERRCODE = 'BF003';
            END IF;
        END LOOP;
        IF item.account = 'credited' THEN
            IF NOT EXISTS (SELECT FROM balances b JOIN guards g ON g.key = 'fund|' || b.fund || '|available'
                           WHERE b.fund = item.fund AND b.account = 'credited' AND b.balance_fen = g.value) THEN
                RAISE EXCEPTION 'fund % is not what its guard row says', item.fund USING ERRCODE = 'check_violation';
            END IF;
        END IF;
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION own_rows(rows jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM enter_postings(rows);
    IF rows @? '$[*].kind ? (@ == "instruction")' THEN
        INSERT INTO instructions (stream, version, fact_id, type, subject, envelope, data, hash)
            SELECT i.stream, i.version, i.fact_id, i.type, i.subject, i.envelope, i.data, i.hash
            FROM jsonb_array_elements(rows) WITH ORDINALITY AS r(item, ord),
                 jsonb_to_record(r.item) AS i(kind text, stream text, version integer, fact_id text, type text,
                                              subject text, envelope text, data text, hash text)
            WHERE i.kind = 'instruction' ORDER BY r.ord;
    END IF;
END $$;

-- A fund's balances, for whoever may see the fund.
CREATE FUNCTION api_balances(p_fund text, p_organisations text[])
RETURNS TABLE (account text, balance_fen bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT b.account, b.balance_fen FROM balances b
    WHERE b.fund = p_fund AND in_scope('fund-' || p_fund, p_organisations)
    ORDER BY b.account
$$;
GRANT EXECUTE ON FUNCTION api_balances(text, text[]) TO ${api};
