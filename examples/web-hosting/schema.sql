-- Who may log in, what sites there are, and who may do what with which: the tables of a hosting panel, or a view of them.

create table users (
    name text primary key,
    password text not null,          -- $argon2id$…, $2b$… (bcrypt), $6$… or $5$… (crypt)
    uid integer not null,            -- the system user that owns the user's sites
    shell integer not null default 0 -- 0: files only
);

create table sites (
    name text primary key,           -- what it is called in the guest: /sites/NAME
    directory text not null          -- where it is on the host
);

create table rights (
    customer text not null references users (name),
    site text not null references sites (name),
    may_write integer not null default 0,
    primary key (customer, site)
);
