-- Each tenant sees its own invoices: those of the tenant that app.tenant names.
create table invoice (tenant text not null, total numeric not null);
alter table invoice enable row level security;
alter table invoice force row level security;
create policy of_the_tenant on invoice
using (tenant = current_setting('app.tenant', true));
