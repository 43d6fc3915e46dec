// A real OpenID provider for tests: node server.mjs PORT REDIRECT_URI SECRET
import Provider from 'oidc-provider';

const [port, redirectUri, secret] = process.argv.slice(2);
const people = {
  mia: { email: 'mia@example.test', name: 'Mia', preferred_username: 'mia', groups: ['dev', 'admins'] },
  bob: { email: 'bob@example.test', name: 'Bob', preferred_username: 'bob', groups: ['guests'] },
};
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    client_id: 'gateway',
    client_secret: secret,
    redirect_uris: [redirectUri],
    grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
    response_types: ['code'],
  }],
  features: {
    deviceFlow: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true },
    devInteractions: { enabled: true },
  },
  pkce: { required: () => true },
  scopes: ['openid', 'offline_access', 'profile', 'email', 'groups'],
  claims: {
    openid: ['sub'],
    profile: ['name', 'preferred_username'],
    email: ['email', 'email_verified'],
    groups: ['groups'],
  },
  findAccount: (_, id) => people[id] && { accountId: id, claims: () => ({ sub: id, email_verified: true, ...people[id] }) },
  ttl: { AccessToken: 300, IdToken: 300, DeviceCode: 120 },
  cookies: { keys: ['for-tests-only'] },
});
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
