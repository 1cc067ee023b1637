/** OCSP messages, both ways. */
export { encodeCertificateId, issuerHashes } from './ocsp-certificate-id.ts';
export { MAX_NONCE_OCTETS } from './ocsp-nonce.ts';
export { MAX_OCSP_REQUESTS, MAX_OCSP_REQUEST_OCTETS, encodeOcspRequest, parseOcspRequest } from './ocsp-request.ts';
export { parseOcspResponse } from './ocsp-response-reader.ts';
export { assembleOcspResponse, encodeOcspError, encodeOcspResponseData } from './ocsp-response-writer.ts';
export type { OcspCertificateId, OcspHash, OcspIssuer } from './ocsp-certificate-id.ts';
export type { OcspRequest } from './ocsp-request.ts';
export type { BasicOcspResponse, OcspResponse, OcspSingleResponse } from './ocsp-response-reader.ts';
export type { OcspCertificateStatus, OcspError, OcspResponderId } from './ocsp-response-writer.ts';
