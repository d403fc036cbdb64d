/**
 * Names that nobody may have on a server that many share, and names that could be taken for one of them. Both sides of
 * a comparison are folded first: hyphens gone, letters and digits that look alike made one (the idea of the skeleton in
 * https://www.unicode.org/reports/tr39/#Confusable_Detection, for ASCII alone). What is only popular (api, app, dev,
 * auth, blog) stays free.
 */

/** Reserved also with a number behind (ns1, www2, pop3). */
const numbered = [
  // visitors and their cookies take it for the server's own host
  'www',
  // mail programs guess these and send the password there; MX and name servers are delegated by such names
  'mail email webmail smtp imap pop mx ns dns',
  // so do file transfer and remote shells
  'ftp sftp ssh',
  // who answers at these is taken for the operator, and told secrets
  'admin administrator root sysadmin login logon signin signup account accounts',
  'password secure security verify billing payment payments',
]

/** Reserved only as they are: with a number behind they deceive nobody. */
const plain = [
  // programs ask these by themselves, in any domain, and obey the answer: proxy settings, IPv6 routes (RFC 5214)
  'wpad isatap',
  // ... accounts of mail and office programs, device management
  'autodiscover autoconfig lyncdiscover enterpriseenrollment enterpriseregistration',
  // ... the domain's mail policy (RFC 8461) and OpenPGP keys (draft-koch-openpgp-webkey-service)
  'mta-sts openpgpkey',
  // means this very machine everywhere (RFC 6761 section 6.3)
  'localhost',
  // the mailboxes of those who answer for a domain (RFC 2142), and their help desk
  'abuse noc postmaster hostmaster webmaster support help status',
  // pages of the operator, and hosts its pages may load scripts from
  'groktunnel tunnel server dashboard static cdn assets',
]

const lookalikes: [seen: RegExp, meant: string][] = [
  [/-/g, ''],
  [/0/g, 'o'],
  [/[1i]/g, 'l'],
  [/3/g, 'e'],
  [/4/g, 'a'],
  [/5/g, 's'],
  [/7/g, 't'],
  [/vv/g, 'w'],
  [/rn/g, 'm'],
  [/cl/g, 'd'],
]

const numberedNames = folded(numbered)
const allNames = folded([...numbered, ...plain])

/** The reserved name that a lower-case label is, or could be taken for. */
export function reservedName(label: string): string | undefined {
  return allNames.get(fold(label)) ?? numberedNames.get(fold(label.replace(/\d+$/, '')))
}

function folded(lists: string[]): Map<string, string> {
  return new Map(lists.flatMap((list) => list.split(' ')).map((name) => [fold(name), name]))
}

function fold(label: string): string {
  return lookalikes.reduce((text, [seen, meant]) => text.replace(seen, meant), label)
}
